-- The version of the schema, by the last migration, and the least version of a program that works with it.
select coalesce(max(m.version), 0) as version,
  coalesce(max(coalesce((to_jsonb(m) ->> 'works_with')::integer, m.version)), 0) as works_with
from pgsched.migrations m
