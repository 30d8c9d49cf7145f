-- A day of the history as JSON, one row a line.
copy (
  select row_to_json(h) from pgsched.missed_ticks h where h.noted_at >= %(begins)s and h.noted_at < %(ends)s order by h.noted_at
) to stdout (format csv, quote e'\x01', delimiter e'\x02')
