-- Lists the saved views by name, or the one with the given name.
select v.name, v.query, v.saved_by, v.saved_at
from pgsched.saved_views v
where %(name)s::text is null or v.name = %(name)s::text
order by v.name
