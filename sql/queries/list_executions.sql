-- Lists the attempts at one task, the latest first; they outlive the task. For a schedule that may overlap itself,
-- lists those of the children that run its ticks, as long as these exist.
select e.*
from (
  (
    select e.*
    from pgsched.visible_executions e
    where e.task_id = %(task_id)s
      and (%(before_token)s::bigint is null
        or (e.fencing_token, e.started_at) < (%(before_token)s::bigint, %(before_started_at)s::timestamptz))
    order by e.fencing_token desc, e.started_at desc
    limit %(limit)s
  )
  union all
  (
    select e.*
    from (
      select c.id
      from pgsched.visible_tasks c
      where c.parent_id = %(task_id)s and c.idempotency_key like 'tick:%%'
      order by c.id desc
    ) c
    cross join lateral (select e.* from pgsched.visible_executions e where e.task_id = c.id) e
    where %(before_started_at)s::timestamptz is null or (e.started_at, e.fencing_token)
      < (%(before_started_at)s::timestamptz, %(before_token)s::bigint)
    order by e.started_at desc, e.fencing_token desc
    limit %(limit)s
  )
) e
order by e.started_at desc, e.fencing_token desc
limit %(limit)s
