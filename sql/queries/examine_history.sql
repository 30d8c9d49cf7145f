-- Examines the last hour: lost attempts (found by the index of failures), and how late tasks started that neither
-- waited for others nor had jitter, from the first rows found.
select
  (select count(*)
   from (select from pgsched.executions e
         where e.status <> 'completed' and e.status = 'lost' and e.started_at > now() - interval '1 day'
           and e.finished_at > now() - interval '1 hour'
         limit %(cap)s) l) as lost,
  s.number as sampled, s.half_late
from (
  select count(*) as number,
    percentile_cont(0.5) within group (order by extract(epoch from e.started_at - e.scheduled_for)::float8) as half_late
  from (select e.task_id, e.started_at, e.scheduled_for from pgsched.executions e
        where e.started_at > now() - interval '1 hour' and e.attempt = 1 and e.scheduled_for is not null
        limit %(sample)s) e
  join pgsched.tasks t on t.id = any(array[e.task_id])
  where t.jitter is null and cardinality(t.depends_on) = 0 and t.died_at is null
) s
