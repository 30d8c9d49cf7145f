-- Ids for rows that are about to be copied, so that the caller can be told which task got which. The sequence is looked
-- up once, not for each id. Null for a role that may not fill them in, or not look for the keys that are known.
select array_agg(nextval(s.name)) as ids
from (select pg_get_serial_sequence('pgsched.tasks', 'id')::regclass as name offset 0) s
cross join lateral generate_series(1, case
  when has_sequence_privilege(s.name, 'usage') and has_column_privilege('pgsched.tasks', 'id', 'insert')
    and has_column_privilege('pgsched.tasks', 'idempotency_key', 'select') then %(number)s::integer
  else 0 end)
