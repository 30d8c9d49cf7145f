-- Counts the tasks that need attention, by queue and type: due tasks without a handler in any live worker, tasks that
-- are silent or run too long by their own alert limits, and tasks that died within the last hour.
select 'unhandled', t.queue::text, t.task_type::text, count(*)
from pgsched.tasks t
where t.next_run_at is not null and t.enabled and t.next_run_at <= now() and t.status = 'pending'
  and not exists (
    select from pgsched.workers w
    where w.heartbeat_at > now() - 3 * w.lease and w.task_types && array[t.task_type::text, '*']
      and (w.queues @> array[t.queue::text] or t.queue like any (w.patterns)))
group by t.queue, t.task_type
union all
select k.kind, w.queue, w.task_type, count(*)
from pgsched.watched_tasks w
cross join lateral (values ('silent', w.is_silent), ('running', w.runs_too_long)) as k(kind, passed)
where k.passed
group by k.kind, w.queue, w.task_type
union all
select 'died', d.queue, d.task_type, count(*)
from (select t.queue::text, t.task_type::text from pgsched.tasks t
      where t.died_at > now() - interval '1 hour' limit %(cap)s) d
group by d.queue, d.task_type
