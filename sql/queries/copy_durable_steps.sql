-- Copies the steps of the durable runs that started on one day as JSON, one row per line.
copy (
  select row_to_json(h) from pgsched.durable_steps h where h.began_at >= %(begins)s and h.began_at < %(ends)s
    order by h.began_at, h.task_id, h.started_at
) to stdout (format csv, quote e'\x01', delimiter e'\x02')
