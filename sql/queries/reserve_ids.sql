-- Reserves ids for rows that are about to be copied, so that the caller learns which task got which, with one access to
-- the sequence for all of them. Null for a role that may not set ids or not search for existing keys. Also returns
-- whether rows with keys may be staged in a temporary table. Every name is qualified, because the session may be the
-- caller's.
select pg_catalog.array_agg(pg_catalog.nextval(s.name)) as ids,
  pg_catalog.has_database_privilege(pg_catalog.current_database(), 'temp') as may_stage
from (select pg_catalog.pg_get_serial_sequence('pgsched.tasks', 'id')::pg_catalog.regclass as name offset 0) s
cross join lateral pg_catalog.generate_series(1, case
  when pg_catalog.has_sequence_privilege(s.name, 'usage')
    and pg_catalog.has_column_privilege('pgsched.tasks', 'id', 'insert')
    and pg_catalog.has_column_privilege('pgsched.tasks', 'idempotency_key', 'select') then %(number)s::integer
  else 0 end)
