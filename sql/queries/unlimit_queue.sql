-- No limits any more; whether there were some.
select pgsched.unlimit_queue(%(queue)s::text) as changed
