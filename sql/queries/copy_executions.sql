-- Copies one day of executions as JSON, one row per line.
copy (
  select row_to_json(h) from pgsched.executions h where h.started_at >= %(begins)s and h.started_at < %(ends)s
    order by h.started_at
) to stdout (format csv, quote e'\x01', delimiter e'\x02')
