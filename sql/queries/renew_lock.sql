-- Extends a lock. Returns false when it was lost.
select pgsched.renew_lock(%(name)s, %(owner)s, %(ttl)s::float8 * interval '1 second') as changed
