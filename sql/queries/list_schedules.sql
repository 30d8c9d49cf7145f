-- Returns a page of the schedules, the next one to run first and those without a next run last, each with its state and
-- its last attempt that has ended (for a schedule that may overlap itself, of a child). Reads the latest schedules, by
-- their partial index.
with known as materialized (
  select t.id, t.queue, t.task_type,
    case when t.status in ('completed', 'cancelled') then 'ended'
      when t.status in ('dead', 'blocked') then t.status::text
      when not t.enabled then 'disabled'
      when coalesce(q.paused, false) then 'paused'
      when t.status = 'running' then 'running'
      else 'active' end as state,
    coalesce(case when t.enabled and t.status in ('pending', 'running') then t.next_run_at end,
      timestamptz '9999-12-31 00:00:00Z') as at,
    lower(concat_ws(' ', t.task_type, t.task_name, t.cron_expression, t.idempotency_key)) as words
  from (
    select * from pgsched.tasks t where t.schedule_type <> 'one_time' order by t.id desc limit %(most)s
  ) t
  left join pgsched.queues q on q.name = t.queue
), found as materialized (
  select k.id, k.state, k.at
  from known k
  where (%(queue)s::text is null or k.queue = %(queue)s::text)
    and (%(task_type)s::text is null or k.task_type = %(task_type)s::text)
    and (%(state)s::text is null or k.state = %(state)s::text)
    and (%(search)s::text is null or strpos(k.words, lower(%(search)s::text)) > 0)
    and (%(after_at)s::timestamptz is null or (k.at, k.id) > (%(after_at)s::timestamptz, %(after_id)s::bigint))
  order by k.at, k.id
  limit %(limit)s
)
select t.*, f.state, f.at, last.status as last_status, last.duration_ms as last_ms, last.task_id as last_task_id,
  (select count(*) from known) >= %(most)s as is_cut
from found f
cross join lateral (select t.* from pgsched.tasks t where t.id = f.id offset 0) t
left join lateral (
  select e.status, e.duration_ms, e.task_id
  from (
    select t.id
    union all
    (select c.id from pgsched.tasks c where c.parent_id = t.id and t.overlap = 'allow' order by c.id desc limit 5)
  ) own
  cross join lateral (
    select e.task_id, e.status, e.duration_ms, e.started_at
    from pgsched.executions e where e.task_id = own.id
    order by e.fencing_token desc limit 1
  ) e
  order by e.started_at desc
  limit 1
) last on true
order by f.at, f.id
