-- Returns whether the roles exist, and whether they have privileges in this database.
select count(*) = 5 as complete,
  coalesce(bool_or(r.rolname = 'pgsched_worker' and has_schema_privilege(r.oid, 'pgsched', 'usage')), false) as granted
from pg_roles r
where r.rolname in ('pgsched_owner', 'pgsched_worker', 'pgsched_producer', 'pgsched_viewer', 'pgsched_operator')
