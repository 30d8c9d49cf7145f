-- Returns the number of live workers, of overdue schedules and of tasks that workers have set aside, and the latest
-- findings of the health scan. Schedules are counted among the first rows of each queue and priority: one behind more
-- rows is late because they are. Paused queues are left out.
select
  (select count(*) from pgsched.workers w where w.heartbeat_at > now() - 3 * w.lease),
  (select count(*)
   from pgsched.queues_in_use() as n(name)
   cross join generate_series(10, 1, -1) as p(priority)
   cross join lateral (
     select t.schedule_type, pgsched.is_claimable(t) as claimable
     from pgsched.tasks t
     where t.queue = n.name and t.priority = p.priority and t.next_run_at is not null and t.enabled
       and t.next_run_at < now() - %(late)s::float8 * interval '1 second'
     order by t.next_run_at, t.id
     limit %(cap)s
   ) f
   where f.schedule_type <> 'one_time' and f.claimable
     and not exists (select from pgsched.queues q where q.name = n.name and q.paused)),
  (select count(*) from (select from pgsched.set_aside limit %(most)s) s),
  coalesce((select w.findings from pgsched.watchdog w), '[]')
