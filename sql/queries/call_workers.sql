-- Wakes workers that sleep, because this one has no room for what may start in these queues.
select count(pgsched.wake_sleepers(q.name, now())) from unnest(%(queues)s::text[]) as q(name)
