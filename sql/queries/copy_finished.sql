-- Copies tasks as JSON, one per line. Neither control character of the format occurs in JSON, so nothing is quoted.
copy (
  select row_to_json(t) from pgsched.tasks t where t.id = any(%(ids)s::bigint[]) order by t.id
) to stdout (format csv, quote e'\x01', delimiter e'\x02')
