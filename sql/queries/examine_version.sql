-- Returns the version of the schema (of its last migration), and the oldest program version that works with it.
select coalesce(max(m.version), 0) as version,
  coalesce(max(coalesce((to_jsonb(m) ->> 'works_with')::integer, m.version)), 0) as works_with
from pgsched.migrations m
