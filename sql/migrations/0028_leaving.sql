-- Works with programs of version 12 of the schema and later.
--
-- retention = '0' of a queue: a one-time task leaves pgsched.tasks in the transaction that completes it. Its history keeps
-- what the task was, so that whoever asks for it by its id, waits for it or depends on it finds it completed.

alter table pgsched.queues
  drop constraint retention_must_be_at_least_1_hour_unless_allow_short,
  add constraint retention_must_be_at_least_1_hour_unless_allow_short
    check (allow_short or retention is null or retention = '0' or retention >= interval '1 hour');
comment on constraint retention_must_be_at_least_1_hour_unless_allow_short on pgsched.queues is
  'An interval without a unit is in seconds: ''7'' would delete in seconds what was meant to be kept for days. 0 has no unit, and says that tasks leave when they are completed.';
comment on column pgsched.queues.retention is
  'Completed and cancelled tasks older than this are deleted; 0: a task leaves in the transaction that completes it. Null: as the settings say; 1000 years: for ever.';
comment on column pgsched.settings.retention is
  'Completed and cancelled tasks older than this are deleted, where the queue says nothing else; 0: a task leaves in the transaction that completes it. Null: for ever.';
-- Each batch of finishes asks whether there is such a queue.
create index queues_leaving on pgsched.queues (name) where retention = '0';
comment on index pgsched.queues_leaving is 'The queues whose tasks leave when they are completed.';

alter table pgsched.executions add column task jsonb;
comment on column pgsched.executions.task is
  'Of the attempt with which a task has left pgsched.tasks: what the task had beside defaults and this row; see departed_tasks. Null for all others.';

create function pgsched.remember(task pgsched.tasks) returns jsonb
language sql stable as $$
  -- The common cases first: nothing, or a payload. What is null in a payload stays.
  select case
    when task.task_name is null and task.metadata = '{}' and task.tags = '{}' and task.created_at = task.scheduled_for
      and task.planned_from = task.created_at
      and task.inserted_by = session_user and task.parent_id is null and task.progress is null
      and task.depends_on = '{}' and task.idempotency_key is null and task.concurrency_key is null
      and task.tenant_id is null and task.user_id is null and task.created_by is null
      and task.priority = 5 and task.max_attempts = 3 and task.timeout is null and task.jitter is null
      and task.backoff = 'exponential' and task.backoff_delay = '5 seconds' and task.backoff_max = '1 hour'
      and task.backoff_factor is null and task.backoff_jitter is null and task.timezone = 'UTC'
      and task.start_date is null and task.end_date is null and task.catchup_window is null
      and task.on_missed = 'once' and task.overlap = 'skip' and task.enabled
      and task.alert_if_no_success_for is null and task.alert_if_running_for is null
      and task.on_dependency_dead = 'cancel' and task.dependency_mode = 'all' and task.revision = 0
      and task.execution_count <= 1 and task.fired is null
      then case when task.payload = '{}' then '{}' else jsonb_build_object('payload', task.payload) end
    else jsonb_strip_nulls(jsonb_build_object(
      'task_name', task.task_name, 'tags', nullif(task.tags, '{}'),
      'created_at', nullif(task.created_at, task.scheduled_for),
      'planned_from', nullif(task.planned_from, task.created_at),
      'inserted_by', nullif(task.inserted_by, session_user), 'parent_id', task.parent_id,
      'depends_on', nullif(task.depends_on, '{}'), 'idempotency_key', task.idempotency_key,
      'concurrency_key', task.concurrency_key, 'tenant_id', task.tenant_id, 'user_id', task.user_id,
      'created_by', task.created_by, 'priority', nullif(task.priority, 5), 'max_attempts', nullif(task.max_attempts, 3),
      'timeout', task.timeout, 'jitter', task.jitter, 'backoff', nullif(task.backoff, 'exponential'),
      'backoff_delay', nullif(task.backoff_delay, '5 seconds'), 'backoff_max', nullif(task.backoff_max, '1 hour'),
      'backoff_factor', task.backoff_factor, 'backoff_jitter', task.backoff_jitter,
      'timezone', nullif(task.timezone, 'UTC'), 'start_date', task.start_date, 'end_date', task.end_date,
      'catchup_window', task.catchup_window, 'on_missed', nullif(task.on_missed, 'once'),
      'overlap', nullif(task.overlap, 'skip'), 'enabled', nullif(task.enabled, true),
      'alert_if_no_success_for', task.alert_if_no_success_for, 'alert_if_running_for', task.alert_if_running_for,
      'on_dependency_dead', nullif(task.on_dependency_dead, 'cancel'),
      'dependency_mode', nullif(task.dependency_mode, 'all'), 'revision', nullif(task.revision, 0),
      'execution_count', nullif(greatest(task.execution_count, 1), 1), 'fired', task.fired))
      || case when task.payload = '{}' then '{}' else jsonb_build_object('payload', task.payload) end
      || case when task.metadata = '{}' then '{}' else jsonb_build_object('metadata', task.metadata) end
      || case when task.progress is null then '{}' else jsonb_build_object('progress', task.progress) end
  end
$$;
comment on function pgsched.remember is
  'For workers: what the history keeps of a task that leaves, beside defaults and its own columns.';

create function pgsched.leave(
  worker uuid, ids bigint[], tokens bigint[], started_ago double precision[], seconds double precision[], results text[],
  leased boolean
) returns setof bigint
language plpgsql security definer rows 100 set plan_cache_mode = force_generic_plan
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- Deletes those of these completed tasks that leave, and writes their history, behind the same fence as a finish. All others
-- are left to it: what has a parent or is waited for, because somebody still asks for it, and what another session has locked,
-- as one does that inserts a task which depends on it: a delete would wait for it. So a leased row is locked first; a row that
-- only this transaction has locked already has its number. Where a trigger or a foreign key of the users' hangs on updates or
-- deletes of tasks, nothing leaves here: it sees each task completed first, and deleted by retention.
declare
  ours constant xid := pg_current_xact_id()::xid;
  by_default boolean;
  leaving text[];
  staying text[];
begin
  if exists (
    select from pg_trigger g
    join pg_proc p on p.oid = g.tgfoid
    where g.tgrelid = 'pgsched.tasks'::regclass and g.tgtype & 24 <> 0 and g.tgenabled <> 'D'
      and p.pronamespace <> 'pgsched'::regnamespace) then
    return;
  end if;
  by_default := coalesce((select s.retention = '0' and not s.archive from pgsched.settings s), false);
  leaving := array(
    select q.name::text from pgsched.queues q
    where q.retention = '0' and not coalesce(q.archive, (select s.archive from pgsched.settings s), false));
  if by_default then
    staying := array(
      select q.name::text from pgsched.queues q where coalesce(q.retention <> '0', false) or coalesce(q.archive, false));
  end if;
  return query
    with free as (
      select d.*
      from unnest(ids, tokens, started_ago, seconds, results) as d(id, token, started_ago, seconds, result)
      where not leased
      union all
      select d.*
      from unnest(ids, tokens, started_ago, seconds, results) as d(id, token, started_ago, seconds, result)
      cross join lateral (
        select from pgsched.tasks t
        where leased and t.id = any(array[d.id]) and t.status = 'running' and t.locked_by = worker
          and t.fencing_token = d.token and t.parent_id is null and not t.observed
          and (t.queue = any(leaving) or by_default and t.queue <> all(staying))
        for update skip locked
      ) held
    ),
    gone as (
      delete from pgsched.tasks t
      using free d
      where t.id = any(array[d.id])
        and case when leased then t.status = 'running' and t.fencing_token = d.token
          else t.status = 'pending' and t.xmax = ours end
        and t.schedule_type = 'one_time' and t.parent_id is null and not t.observed and t.fired is null
        and (t.queue = any(leaving) or by_default and t.queue <> all(staying))
      returning t.id, t.task_type, t.queue, t.attempts + (not leased)::integer as attempt, d.token, t.scheduled_for,
        statement_timestamp() - d.started_ago * interval '1 second' as started_at, d.seconds, d.result,
        pgsched.remember(t) as task
    ),
    history as (
      insert into pgsched.executions (
        task_id, task_type, queue, attempt, fencing_token, scheduled_for, worker_id, status, started_at, finished_at,
        duration_ms, result, task)
      select g.id, g.task_type, g.queue, g.attempt, g.token, g.scheduled_for, worker, 'completed', g.started_at,
        g.started_at + g.seconds * interval '1 second', g.seconds * 1000, g.result::jsonb, g.task
      from gone g
    )
    select g.id from gone g;
end $$;
comment on function pgsched.leave is
  'For workers: deletes those of these tasks that are completed and leave with it, writes their history, and returns their ids.';
revoke execute on function pgsched.leave from public;

-- Whoever finishes tasks.
do $$
declare
  one record;
begin
  for one in
    select distinct case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end as grantee
    from pg_class c
    cross join lateral aclexplode(c.relacl) a
    where c.oid = 'pgsched.tasks'::regclass and a.privilege_type = 'UPDATE' and a.grantee <> c.relowner
  loop
    execute format('grant execute on function pgsched.leave to %s', one.grantee);
  end loop;
end $$;

create view pgsched.departed_tasks with (security_barrier) as
select
  e.task_id as id, t.task_type, t.task_name, t.queue, t.priority, t.payload, t.metadata, t.tags, t.tenant_id, t.user_id,
  t.created_by, t.schedule_type, t.scheduled_for, t.cron_expression, t.timezone, t.start_date, t.end_date,
  t.repeat_interval, t.repeat_count, t.execution_count, t.on_missed, t.catchup_window, t.overlap, t.jitter,
  t.enabled, t.status, t.next_run_at, t.last_run_at, t.started_at, t.completed_at, t.died_at, t.attempts,
  t.max_attempts, t.backoff, t.backoff_delay, t.backoff_max, t.timeout, t.locked_by, t.locked_until,
  t.fencing_token, t.idempotency_key, t.depends_on, t.dependency_mode, t.on_dependency_dead, t.waiting_for, t.fired,
  t.concurrency_key, t.parent_id, t.progress, t.result, t.last_error, t.planned_from, t.created_at, t.updated_at,
  t.observed, t.revision, t.declared, t.inserted_by, t.backoff_factor, t.backoff_jitter,
  t.alert_if_no_success_for, t.alert_if_running_for, t.judged_from
from pgsched.executions e
cross join lateral jsonb_populate_record(null::pgsched.tasks,
  '{"schedule_type": "one_time", "status": "completed", "priority": 5, "payload": {}, "metadata": {}, "tags": [],
    "timezone": "UTC", "on_missed": "once", "overlap": "skip", "enabled": true, "max_attempts": 3,
    "backoff": "exponential", "backoff_delay": "5 seconds", "backoff_max": "1 hour", "depends_on": [],
    "dependency_mode": "all", "on_dependency_dead": "cancel", "revision": 0, "execution_count": 1,
    "waiting_for": 0, "observed": false}'::jsonb
  || jsonb_build_object(
    'task_type', e.task_type, 'queue', e.queue, 'attempts', e.attempt, 'fencing_token', e.fencing_token,
    'scheduled_for', e.scheduled_for, 'created_at', e.scheduled_for,
    'planned_from', coalesce(e.task -> 'created_at', to_jsonb(e.scheduled_for)), 'started_at', e.started_at,
    'last_run_at', e.started_at, 'completed_at', e.finished_at, 'updated_at', e.finished_at, 'result', e.result)
  || e.task) t
where e.task is not null and (
  has_table_privilege('pgsched.tasks', 'select')
  or e.task ->> 'inserted_by' = session_user
  or exists (
    select from pgsched.tasks p
    where p.id = (e.task ->> 'parent_id')::bigint and p.inserted_by = session_user));
comment on view pgsched.departed_tasks is
  'Tasks that left pgsched.tasks when they were completed (retention 0), as the history keeps them. Of visible_tasks only.';

create view pgsched.known_tasks with (security_barrier) as
select * from pgsched.visible_tasks union all select * from pgsched.departed_tasks;
comment on view pgsched.known_tasks is 'visible_tasks, then departed_tasks: to look a task up by its id.';

create or replace view pgsched.visible_executions with (security_barrier) as
select
  e.task_id, e.task_type, e.queue, e.attempt, e.fencing_token, e.scheduled_for, e.worker_id, e.status, e.started_at,
  e.finished_at, e.duration_ms, e.result, e.error
from pgsched.executions e
where has_table_privilege('pgsched.executions', 'select')
  or exists (select from pgsched.visible_tasks t where t.id = e.task_id)
  or exists (select from pgsched.departed_tasks t where t.id = e.task_id);

grant select on pgsched.departed_tasks, pgsched.known_tasks to public;

do $$
declare
  one record;
begin
  for one in
    select v.relname as view, a.attname as name, col_description('pgsched.tasks'::regclass, b.attnum) as said
    from pg_class v
    join pg_attribute a on a.attrelid = v.oid and a.attnum > 0
    join pg_attribute b on b.attrelid = 'pgsched.tasks'::regclass and b.attname = a.attname
    where v.relnamespace = 'pgsched'::regnamespace and v.relname in ('departed_tasks', 'known_tasks')
  loop
    execute format('comment on column pgsched.%I.%I is %L', one.view, one.name, one.said);
  end loop;
end $$;

-- Whoever waits for a task that has left finds it completed.
create or replace function pgsched.settle(ids bigint[]) returns integer
language plpgsql as $$
#variable_conflict use_variable
-- Tells those who wait for these tasks that they have ended. Returns how many were released or cancelled.
-- Rows are locked in the order of their ids, here as in a finish.
declare
  ended bigint[] := ids;
  over bigint[];
  moved_rows integer := 0;
begin
  while cardinality(ended) > 0 loop
    with upstream as (
      select e.id, u.status, u.status not in ('dead', 'cancelled', 'deleted') as good
      from unnest(ended) as e(id)
      left join pgsched.tasks t on t.id = e.id
      cross join lateral (
        select case when t.id is not null then t.status::text
          when exists (select from pgsched.executions x where x.task_id = e.id and x.task is not null) then 'completed'
          else 'deleted' end as status) u
      union all
      -- The tick of a schedule that may overlap itself ran in a child.
      select t.parent_id, 'completed', true
      from pgsched.tasks t
      where t.id = any(ended) and t.status = 'completed' and t.parent_id is not null and t.idempotency_key like 'tick:%'
    ),
    gone as (
      delete from pgsched.dependencies d
      using upstream u, pgsched.tasks t
      where d.upstream_id = u.id and t.id = d.task_id
        and (u.good or u.status = 'deleted' or t.on_dependency_dead <> 'wait' or t.fired is not null)
      returning d.task_id, u.id as upstream_id, u.status, u.good
    ),
    news as (
      select g.task_id, count(*)::integer as settled, bool_or(g.good) as some_good,
        min(g.upstream_id) filter (where not g.good) as bad_id,
        (array_agg(g.status order by g.upstream_id) filter (where not g.good))[1] as bad_status
      from gone g group by g.task_id
    ),
    locked as materialized (
      select t.id, t.waiting_for, t.scheduled_for, t.dependency_mode,
        case when t.fired is null then t.on_dependency_dead else 'run' end as policy
      from pgsched.tasks t
      where t.id = any(array(select n.task_id from news n)) and t.status = 'blocked'
      order by t.id
      for no key update
    ),
    judged as (
      select l.*, n.bad_id, n.bad_status, l.waiting_for - n.settled as remaining,
        case
          when l.dependency_mode = 'any' then n.some_good or l.policy = 'run'
          else l.waiting_for - n.settled <= 0 and (n.bad_id is null or l.policy = 'run') end as released,
        l.policy <> 'run' and n.bad_id is not null
          and (l.dependency_mode = 'all' or l.waiting_for - n.settled <= 0 and not n.some_good) as cancelled
      from locked l join news n on n.task_id = l.id
    ),
    moved as (
      update pgsched.tasks t
      set status = case when j.released then 'pending' when j.cancelled then 'cancelled' else 'blocked' end,
        next_run_at = case when j.released then greatest(j.scheduled_for, clock_timestamp()) end,
        waiting_for = case when j.released then 0 else j.remaining end,
        completed_at = case when j.cancelled and not j.released then now() end,
        last_error = case when j.cancelled and not j.released
          then format('task %s, which it depends on, is %s', j.bad_id, j.bad_status) else t.last_error end,
        updated_at = now()
      from judged j
      where t.id = j.id
      returning t.id, t.status, t.observed
    )
    select array_agg(m.id) filter (where m.status <> 'blocked'),
      array_agg(m.id) filter (where m.status = 'cancelled' and m.observed)
    into over, ended
    from moved m;
    delete from pgsched.dependencies d where d.task_id = any(over);
    moved_rows := moved_rows + coalesce(cardinality(over), 0);
  end loop;
  return moved_rows;
end $$;
create or replace function pgsched.check_dependencies(id bigint, upstream bigint[], made_by bigint default null) returns void
language plpgsql as $$
#variable_conflict use_variable
-- Refuses ids that are not there, and circles. `made_by`: the parent of a row that is being inserted.
declare
  unknown bigint;
begin
  perform from pgsched.tasks t
  where t.id = any(upstream) and t.xmin <> pg_current_xact_id()::xid
  order by t.id
  for key share;
  select u into unknown
  from unnest(upstream) u
  where not exists (select from pgsched.tasks t where t.id = u)
    and not exists (select from pgsched.executions e where e.task_id = u and e.task is not null)  -- it has left
  limit 1;
  if unknown is not null then
    raise invalid_parameter_value using message = format('depends_on: task %s does not exist', unknown),
      column = 'depends_on', table = 'tasks', schema = 'pgsched';
  end if;
  -- Nobody can wait for a row that was just made, except those made by the same statement, and the group that makes it.
  if check_dependencies.id = any(upstream) or exists (
    select from pgsched.dependencies d
    where d.upstream_id = check_dependencies.id and d.task_id is distinct from made_by) then
    if exists (
      with recursive above as (
        select u as id from unnest(upstream) u
        union
        select d.upstream_id from above join pgsched.dependencies d on d.task_id = above.id
      )
      select from above where above.id = check_dependencies.id
    ) then
      raise invalid_parameter_value using message = format('depends_on: task %s would wait for itself', check_dependencies.id),
        column = 'depends_on', table = 'tasks', schema = 'pgsched';
    end if;
  end if;
end $$;
-- A task that has left is like any other that is completed: it may be run again, as a copy, but not cancelled or retried.
create or replace function pgsched.locked_task(id bigint) returns pgsched.tasks
language plpgsql as $$
#variable_conflict use_variable
declare
  task pgsched.tasks;
begin
  select * into task from pgsched.tasks t where t.id = locked_task.id for no key update;
  if not found then
    select t.* into task
    from pgsched.departed_tasks d
    cross join lateral jsonb_populate_record(null::pgsched.tasks, to_jsonb(d)) t
    where d.id = locked_task.id
    limit 1;
  end if;
  if task.id is null then
    raise no_data_found using message = format('task %s does not exist', id);
  end if;
  return task;
end $$;
create or replace function pgsched.prune_finished(
  ids bigint[], archive boolean, out completed integer, out cancelled integer, out dead integer, out kept integer,
  out refusal text
) returns record
language plpgsql security definer
set enable_seqscan = off set enable_bitmapscan = off set jit = off set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  remembered bigint[];
begin
  -- A crash may bring the last ones back, and they are deleted again.
  perform set_config('synchronous_commit', 'off', true);
  -- Where tasks leave when they are completed, what had to stay for a while is remembered, too.
  remembered := array(
    select t.id
    from pgsched.tasks t
    left join pgsched.queues q on q.name = t.queue
    left join pgsched.settings s on true
    where t.id = any(ids) and t.status = 'completed' and t.schedule_type = 'one_time'
      and coalesce(q.retention, s.retention) = '0');
  if cardinality(remembered) > 0 then
    update pgsched.executions e
    set task = pgsched.remember(t)
    from pgsched.tasks t
    where t.id = any(remembered) and e.task_id = t.id and e.fencing_token = t.fencing_token
      and e.started_at = t.last_run_at and e.status = 'completed' and e.task is null;
  end if;
  select count(*) filter (where d.refusal is null and d.status = 'completed'),
    count(*) filter (where d.refusal is null and d.status = 'cancelled'),
    count(*) filter (where d.refusal is null and d.status = 'dead'),
    cardinality(ids) - count(*) filter (where d.refusal is null), min(d.refusal)
  into completed, cancelled, dead, kept, refusal
  from pgsched.delete_apart(ids, array['completed', 'cancelled', 'dead'], archive) d;
end $$;
