-- How many living workers there are, how many schedules should have run a while ago and did not, how many tasks workers have
-- set aside, and what the watchdog last found. A schedule is looked for among the first rows of the due clock of each queue and priority: behind more rows than that
-- it is late because they are. Nothing of a paused queue should have run.
select
  (select count(*) from pgsched.workers w where w.heartbeat_at > now() - 3 * w.lease),
  (select count(*)
   from pgsched.queues_in_use() as n(name)
   cross join generate_series(10, 1, -1) as p(priority)
   cross join lateral (
     select t.schedule_type, t.locked_until
     from pgsched.tasks t
     where t.queue = n.name and t.priority = p.priority and t.next_run_at is not null and t.enabled
       and t.next_run_at < now() - %(late)s::float8 * interval '1 second'
     order by t.next_run_at, t.id
     limit %(cap)s
   ) f
   where f.schedule_type <> 'one_time' and (f.locked_until is null or f.locked_until < now())
     and not exists (select from pgsched.queues q where q.name = n.name and q.paused)),
  (select count(*) from (select from pgsched.set_aside limit %(most)s) s),
  coalesce((select w.findings from pgsched.watchdog w), '[]')
