-- Copies one day of missed ticks as JSON, one row per line.
copy (
  select row_to_json(h) from pgsched.missed_ticks h where h.noted_at >= %(begins)s and h.noted_at < %(ends)s
    order by h.noted_at
) to stdout (format csv, quote e'\x01', delimiter e'\x02')
