-- The second phase of a group: returns the outcomes of its children, all of which have ended. No row when the claim was
-- lost.
select g.ok, g.result::text, g.error, g.seconds
from pgsched.tasks t
cross join lateral pgsched.join_group(t.id, t.fencing_token) g
where t.id = %(id)s and t.fencing_token = %(token)s and t.locked_by = %(worker)s
