-- Removes the limits of a queue. Returns whether it had any.
select pgsched.unlimit_queue(%(queue)s::text) as changed
