-- Lists the applied migrations and which programs still work with each; the latter is unknown if an early program
-- created the table.
select m.version, m.name, (to_jsonb(m) ->> 'works_with')::integer as works_with from pgsched.migrations m
  order by m.version
