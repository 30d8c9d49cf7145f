-- The tenants that were moved to this database or from it, or one of them.
select p.tenant_id, p.state, p.shard, p.peer, p.version
from pgsched.placements p
where %(tenant_id)s::text is null or p.tenant_id = %(tenant_id)s
order by p.tenant_id
