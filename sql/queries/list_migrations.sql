-- The versions that were applied to this database, and which programs still work with each: not said where an early program
-- made the table.
select m.version, m.name, (to_jsonb(m) ->> 'works_with')::integer as works_with from pgsched.migrations m order by m.version
