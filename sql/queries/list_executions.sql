-- Lists the attempts at one task, the latest first, so that a running one is the first; attempts outlive the task. For
-- a schedule, includes those of the children that run its ticks and of the copies that users ran manually (run_by), as
-- long as these exist.
select e.*, h.hostname, h.pid
from (
  (
    select r.task_id, r.task_type::text, r.queue::text, r.attempt, r.fencing_token, r.scheduled_for, r.worker_id,
      'running' as status, r.started_at, null::timestamptz as finished_at, null::double precision as duration_ms,
      null::jsonb as result, null::text as error, t.run_by
    from (
      select %(task_id)s::bigint as id, (
        select pgsched.run_by(s.parent_id, s.idempotency_key, s.created_by)
        from pgsched.visible_tasks s where s.id = %(task_id)s::bigint) as run_by
      union all
      select c.id, pgsched.run_by(c.parent_id, c.idempotency_key, c.created_by)
      from pgsched.visible_tasks c
      where c.parent_id = %(task_id)s::bigint and c.status = 'running'
        and (c.idempotency_key like 'tick:%%' or c.idempotency_key like 'run:' || %(task_id)s::bigint || ':%%')
    ) t
    -- With a limit, here and below: it keeps the subquery separate, where an index finds the rows of one task.
    cross join lateral (select r.* from pgsched.running_attempts r where r.task_id = t.id limit %(limit)s) r
    where %(before_started_at)s::timestamptz is null or (r.started_at, r.fencing_token)
      < (%(before_started_at)s::timestamptz, %(before_token)s::bigint)
    order by r.started_at desc, r.fencing_token desc
    limit %(limit)s
  )
  union all
  (
    select e.*, (
      select pgsched.run_by(s.parent_id, s.idempotency_key, s.created_by)
      from pgsched.visible_tasks s where s.id = %(task_id)s::bigint) as run_by
    from pgsched.visible_executions e
    where e.task_id = %(task_id)s
      and (%(before_token)s::bigint is null
        or (e.fencing_token, e.started_at) < (%(before_token)s::bigint, %(before_started_at)s::timestamptz))
    order by e.fencing_token desc, e.started_at desc
    limit %(limit)s
  )
  union all
  (
    select e.*, c.run_by
    from (
      select c.id, pgsched.run_by(c.parent_id, c.idempotency_key, c.created_by) as run_by
      from pgsched.visible_tasks c
      where c.parent_id = %(task_id)s::bigint
        and (c.idempotency_key like 'tick:%%' or c.idempotency_key like 'run:' || %(task_id)s::bigint || ':%%')
      order by c.id desc
    ) c
    cross join lateral (
      select e.*
      from pgsched.visible_executions e
      where e.task_id = c.id and (%(before_started_at)s::timestamptz is null or (e.started_at, e.fencing_token)
        < (%(before_started_at)s::timestamptz, %(before_token)s::bigint))
      order by e.started_at desc, e.fencing_token desc
      limit %(limit)s) e
    order by e.started_at desc, e.fencing_token desc
    limit %(limit)s
  )
) e
left join pgsched.visible_worker_hosts h on h.id = e.worker_id
order by e.started_at desc, e.fencing_token desc
limit %(limit)s
