-- Deletes parked tasks that have arrived at the other shard.
delete from pgsched.departing_tasks where id = any(%(ids)s) and tenant_id = %(tenant_id)s returning id
