-- Lists when tasks ran: their ended attempts, the earliest first, and their running ones.
select e.task_id, e.status, e.started_at, e.finished_at
from (
  (
    select e.task_id, e.status, e.started_at, e.finished_at
    from unnest(%(ids)s::bigint[]) as i(id)
    cross join lateral (
      select e.task_id, case when e.attempt = 0 and e.status = 'cancelled' then 'snoozed' else e.status end as status,
        e.started_at, e.finished_at
      from pgsched.executions e
      where e.task_id = i.id
      order by e.fencing_token desc
      limit 10
    ) e
  )
  union all
  (
    select t.id, 'running', case when t.status = 'running' then t.started_at else t.last_run_at end, null
    from pgsched.tasks t
    where t.id = any(%(ids)s::bigint[]) and (t.status = 'running' or (t.status = 'blocked' and t.fired is not null))
  )
) e
where e.started_at is not null
order by e.started_at, e.task_id
limit %(limit)s
