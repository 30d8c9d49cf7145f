-- Locks the statement about a tenant's move, if it is still this move in this state: nobody ends the move meanwhile.
select p.tenant_id
from pgsched.placements p
where p.tenant_id = %(tenant_id)s and p.version = %(version)s and p.state = %(state)s
for share
