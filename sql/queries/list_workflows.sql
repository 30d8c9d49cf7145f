-- Returns a page of workflows, the latest first, one row each: groups, and dependent tasks on which no other task
-- depends. Of each it returns the numbers of tasks, of completed and of failed ones, when the first of them started,
-- and which failed; for a group, its steps. Reads a bounded number of rows of the partial index, and a bounded number
-- of tasks of each workflow.
with stretch as materialized (
  select t.id
  from pgsched.tasks t
  where (t.task_type = 'pgsched.group' or cardinality(t.depends_on) > 0)
    and (%(before_id)s::bigint is null or t.id < %(before_id)s::bigint)
  order by t.id desc
  limit %(stretch)s
), found as materialized (
  select t.id, w.state
  from (select s.id from stretch s order by s.id desc) s
  cross join lateral (select t.* from pgsched.tasks t where t.id = s.id offset 0) t
  cross join lateral (
    select case when t.status = 'blocked' and t.fired is not null then 'running' else t.status::text end as state) w
  where (t.task_type = 'pgsched.group' or not t.observed)
    and (%(status)s::text is null or w.state = %(status)s::text)
    and (%(queue)s::text is null or t.queue = %(queue)s::text)
    and (%(search)s::text is null
      or strpos(lower(concat_ws(' ', t.task_type, t.task_name, t.idempotency_key)), lower(%(search)s::text)) > 0)
    and not exists (
      select from pgsched.tasks p
      where p.id = t.parent_id and p.task_type = 'pgsched.group'
        and coalesce(t.idempotency_key, '') not like 'tick:%%' and coalesce(t.idempotency_key, '') not like 'run:%%')
  order by t.id desc
  limit %(limit)s
)
select t.*, f.state, parts.number, parts.completed, parts.failed, parts.failed_ids, parts.is_cut,
  least(parts.began_at, t.last_run_at) as began_at,
  coalesce(t.completed_at, t.died_at, case when t.status = 'cancelled' then t.updated_at end) as ended_at,
  looked.last_id as last_looked, looked.number >= %(stretch)s as is_stretch_full
from (select min(s.id) as last_id, count(*) as number from stretch s) looked
left join found f on true
left join lateral (select t.* from pgsched.tasks t where t.id = f.id offset 0) t on true
cross join lateral (
  select case when t.task_type <> 'pgsched.group' then m.number
      when t.fired is not null then cardinality(t.fired)
      else jsonb_array_length(t.payload -> 'steps') end as number,
    case when t.task_type = 'pgsched.group' and t.fired is null and t.status = 'completed'
      then jsonb_array_length(t.payload -> 'steps') else m.completed end as completed,
    m.failed, m.failed_ids, m.number >= %(most)s as is_cut, m.began_at
  from (
    select count(*) as number, count(*) filter (where p.status = 'completed') as completed,
      count(*) filter (where p.status = 'dead') as failed,
      (array_agg(p.id order by p.id) filter (where p.status = 'dead'))[1:3] as failed_ids,
      min(coalesce(p.last_run_at, p.started_at)) as began_at
    from (
      (select f.id from unnest(t.fired[1:%(most)s]) as f(id) where t.task_type = 'pgsched.group')
      union all
      (
        with recursive up(id) as (
          select t.id where t.task_type <> 'pgsched.group'
          union
          select d.id
          from up
          join pgsched.tasks x on x.id = up.id
          cross join unnest(x.depends_on) as d(id)
        )
        select up.id from up limit %(most)s
      )
    ) member
    cross join lateral (
      select p.id, p.status, p.last_run_at, p.started_at from pgsched.tasks p where p.id = member.id
    ) p
  ) m
) parts
order by t.id desc nulls last
