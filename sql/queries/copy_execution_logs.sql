-- Copies one day of log lines as JSON, one row per line.
copy (
  select row_to_json(h) from pgsched.execution_logs h where h.logged_at >= %(begins)s and h.logged_at < %(ends)s
    order by h.logged_at
) to stdout (format csv, quote e'\x01', delimiter e'\x02')
