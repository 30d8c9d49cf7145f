-- Wakes sleeping workers, because this one has no free slot for the work that may start in these queues.
select count(pgsched.wake_sleepers(q.name, now())) from unnest(%(queues)s::text[]) as q(name)
