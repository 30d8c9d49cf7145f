-- Acquires a lock unless another owner holds it. Returns its fencing token, or null.
select pgsched.lock(%(name)s, %(owner)s, %(ttl)s::float8 * interval '1 second', %(holder)s) as token
