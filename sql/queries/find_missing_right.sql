-- Returns the first of the given privileges on our tables that the current role lacks, and the role.
select current_user::text, n.privilege, n.name
from unnest(%(names)s::text[], %(privileges)s::text[]) with ordinality as n(name, privilege, place)
where not has_table_privilege('pgsched.' || n.name, n.privilege)
order by n.place
limit 1
