-- Locks a bulk change for its next batch; returns no row if it was stopped, or another dashboard has taken it over. A
-- stop waits for the end of the batch.
select b.id, b.action, b.filter, b.described, b.actor, b.role, b.remote, b.before_id
from pgsched.bulk_changes b
where b.id = %(id)s and b.status = 'running' and b.runner = %(runner)s::uuid
for no key update
