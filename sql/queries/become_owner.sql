-- Until the commit, the role that the schema belongs to, where we are a member of it: what a migration makes is its, too.
select set_config('role', r.rolname::text, true)
from pg_namespace n
join pg_roles r on r.oid = n.nspowner
where n.nspname = 'pgsched' and r.rolname <> current_user and pg_has_role(r.oid, 'USAGE')
