-- Switches to the role that owns the schema until the commit, if we are a member of it, so that the owner also owns
-- what a migration creates.
select set_config('role', r.rolname::text, true)
from pg_namespace n
join pg_roles r on r.oid = n.nspowner
where n.nspname = 'pgsched' and r.rolname <> current_user and pg_has_role(r.oid, 'USAGE')
