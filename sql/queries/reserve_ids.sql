-- Ids for rows that are about to be copied, so that the caller can be told which task got which. The sequence is looked
-- up once, not for each id.
select array_agg(nextval(s.name)) as ids
from (select pg_get_serial_sequence('pgsched.tasks', 'id')::regclass as name offset 0) s,
  generate_series(1, %(number)s::integer)
