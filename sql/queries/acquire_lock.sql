-- A lock is taken, unless another owner has it: its fencing token, or null.
select pgsched.lock(%(name)s, %(owner)s, %(ttl)s::float8 * interval '1 second', %(holder)s) as token
