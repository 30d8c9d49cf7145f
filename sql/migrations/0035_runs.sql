-- Works with programs of version 12 of the schema and later.
--
-- A run by hand says who asked for it, and stands in the history of the task that it is a copy of.

-- More arguments make another function: whoever might call the old one may call it.
do $$
begin
  perform set_config('pgsched.rights', (
    select jsonb_object_agg(p.proname, coalesce(p.proacl::text, ''))::text
    from pg_proc p where p.oid in ('pgsched.run_now'::regproc, 'pgsched.change_tasks'::regproc)), true);
end $$;
drop function pgsched.run_now;
create function pgsched.run_now(id bigint, run_by text default null) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The key of a copy says what it is (see run_by); its id is drawn before, because it is part of the key.
declare
  task pgsched.tasks := pgsched.locked_task(run_now.id);
  copy bigint;
  child bigint;
begin
  if task.schedule_type = 'one_time' and task.status = 'running' then
    raise object_not_in_prerequisite_state using message = format('task %s is running already', task.id);
  end if;
  if task.schedule_type = 'one_time' and task.status = 'pending' then
    update pgsched.tasks t set next_run_at = least(t.next_run_at, now()), enabled = true where t.id = task.id;
    return task.id;
  end if;
  copy := nextval('pgsched.tasks_id_seq');
  insert into pgsched.tasks as t (
    id, task_type, task_name, queue, priority, payload, metadata, tags, tenant_id, user_id, created_by, timezone,
    max_attempts, backoff, backoff_delay, backoff_max, timeout, concurrency_key, parent_id, backoff_factor, backoff_jitter,
    on_missed, overlap, dependency_mode, on_dependency_dead, idempotency_key)  -- all that is to be said: it is complete
  values (
    copy, task.task_type, task.task_name, task.queue, task.priority, task.payload, task.metadata, task.tags, task.tenant_id,
    task.user_id, coalesce(nullif(run_by, ''), session_user), task.timezone, task.max_attempts, task.backoff,
    task.backoff_delay, task.backoff_max, task.timeout, task.concurrency_key, task.id, task.backoff_factor,
    task.backoff_jitter, 'once', 'skip', 'all', 'cancel', format('run:%s:%s', task.id, copy))
  returning t.id into child;
  if child is null then
    raise integrity_constraint_violation using
      message = 'the task was not inserted: a trigger or a row security policy on pgsched.tasks keeps it out';
  end if;
  return child;
end $$;
comment on function pgsched.run_now is
  'Makes a waiting one-time task due now; for any other runs a copy (a child with parent_id) and leaves the task as it is. Returns the id that runs.
id: The task.
run_by: Who asks for it: the created_by of the copy, and the run_by of its attempts in the history of the task. By default the database role.';

drop function pgsched.change_tasks;
create function pgsched.change_tasks(action text, ids bigint[], dry_run boolean, run_by text default null)
returns setof bigint
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  one bigint;
  task pgsched.tasks;
begin
  if not dry_run then
    if action = 'retry' then
      perform pgsched.lock_steps(ids);
    end if;
    perform from pgsched.tasks t where t.id = any(ids) order by t.id for no key update;
  end if;
  if action = 'delete' and not dry_run then
    return query
      select d.id from pgsched.delete_apart(
        ids, array['pending', 'blocked', 'completed', 'dead', 'cancelled']) d
      where d.refusal is null order by d.id;
    return;
  end if;
  for one in
    select t.id from pgsched.tasks t cross join lateral (select action = 'retry' and t.task_type = 'pgsched.group' as late) l
    where t.id = any(ids)
    -- A retry of a step continues its group, which is not to be retried as a whole then.
    order by l.late, case when l.late then -t.id else t.id end
  loop
    -- Read again: it may have gone, or been cancelled, with another one.
    select * into task from pgsched.tasks t where t.id = one;
    continue when not found or not pgsched.may_change(action, task);
    if not dry_run then
      case action
        when 'enable' then perform pgsched.enable(one);
        when 'disable' then perform pgsched.disable(one);
        when 'run' then perform pgsched.run_now(one, run_by);
        when 'cancel' then perform pgsched.cancel(one);
        when 'retry' then perform pgsched.retry(one);
      end case;
    end if;
    return next one;
  end loop;
end $$;
comment on function pgsched.change_tasks is
  'Does one thing to each of these tasks that it suits, in one transaction; returns the ids of those that were changed.
action: enable, disable, run, cancel, retry or delete.
ids: The tasks.
dry_run: True: changes nothing and only returns which it would be.
run_by: Who asks for the runs, as of run_now.';

do $$
declare
  name text;
  rights text;
  one record;
begin
  for name, rights in select r.key, r.value from jsonb_each_text(current_setting('pgsched.rights')::jsonb) r loop
    continue when rights = '';
    execute format('revoke execute on function pgsched.%I from public', name);
    for one in
      select case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end as grantee, a.is_grantable
      from aclexplode(rights::aclitem[]) a
    loop
      execute format('grant execute on function pgsched.%I to %s%s', name, one.grantee,
        case when one.is_grantable then ' with grant option' end);
    end loop;
  end loop;
end $$;

create function pgsched.run_by(parent_id bigint, idempotency_key text, created_by text) returns text
language sql immutable as $$
select case when idempotency_key like 'run:' || parent_id || ':%' then created_by end
$$;
comment on function pgsched.run_by is
  'Who ran a task by hand, from these columns of it: the created_by of a copy that run_now has made; null for any other task.';

create function pgsched.history(id bigint, max_rows integer default 100)
returns table (
  task_id bigint, run_by text, attempt integer, status text, scheduled_for timestamptz, started_at timestamptz,
  finished_at timestamptz, duration_ms double precision, result jsonb, error text, worker_id uuid, fencing_token bigint)
language sql stable
set search_path = pg_catalog, pg_temp as $$
-- Its own attempts, and of its children those that run its ticks and those that somebody ran by hand.
with run as (
  select history.id as task_id, (
    select pgsched.run_by(t.parent_id, t.idempotency_key, t.created_by) from pgsched.visible_tasks t
    where t.id = history.id) as run_by
  union all
  select c.id, pgsched.run_by(c.parent_id, c.idempotency_key, c.created_by)
  from pgsched.visible_tasks c
  where c.parent_id = history.id
    and (c.idempotency_key like 'tick:%' or c.idempotency_key like 'run:' || history.id || ':%')
)
select *
from (
  select r.task_id, run.run_by, r.attempt::integer, 'running', r.scheduled_for::timestamptz, r.started_at, null::timestamptz,
    null::double precision, null::jsonb, null::text, r.worker_id, r.fencing_token
  from run join pgsched.running_attempts r on r.task_id = run.task_id
  union all
  select e.task_id, run.run_by, e.attempt, case when e.status = 'cancelled' and e.attempt = 0 then 'snoozed' else e.status end,
    e.scheduled_for, e.started_at, e.finished_at, e.duration_ms, e.result, e.error, e.worker_id, e.fencing_token
  from run join pgsched.visible_executions e on e.task_id = run.task_id
) as of_all (
  task_id, run_by, attempt, status, scheduled_for, started_at, finished_at, duration_ms, result, error, worker_id,
  fencing_token)
order by of_all.started_at desc, of_all.fencing_token desc
limit max_rows
$$;
comment on function pgsched.history is
  'The attempts at a task, the latest first, with the one under way; of a schedule also those of the children that run its ticks, and those that somebody ran by hand (run_by). Of tasks that the caller may see.
id: The task.
max_rows: At most so many.';

-- The retry of a step continues its group.

create function pgsched.lock_steps(ids bigint[]) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The steps of the groups that these tasks are steps of, and then the groups: as finishes and cancels lock them. A group may be
-- the step of another one.
declare
  steps bigint[];
  groups bigint[] := ids;
begin
  loop
    select array_agg(distinct g.id), array_agg(distinct f) into groups, steps
    from pgsched.tasks t
    join pgsched.tasks g on g.id = t.parent_id and g.task_type = 'pgsched.group' and t.id = any(g.fired)
    cross join unnest(g.fired) f
    where t.id = any(groups);
    exit when groups is null;
    perform from pgsched.tasks t where t.id = any(steps) order by t.id for no key update;
    perform from pgsched.tasks t where t.id = any(groups) order by t.id for no key update;
  end loop;
end $$;
revoke execute on function pgsched.lock_steps from public;
comment on function pgsched.lock_steps is
  'For the schema: locks what a retry of these tasks may change, where they are steps of groups, in the order in which finishes lock it.';

create function pgsched.rejoin(id bigint) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- A step that runs again: its group waits for it again, and so do the steps that were cancelled because it had not been completed.
-- All of that is locked (lock_steps).
declare
  step bigint := id;
  group_row pgsched.tasks;
  again bigint[];
  behind bigint[];
begin
  loop
    select g.* into group_row
    from pgsched.tasks t
    join pgsched.tasks g on g.id = t.parent_id and g.task_type = 'pgsched.group' and t.id = any(g.fired)
    where t.id = step and (g.status in ('blocked', 'pending', 'running') or g.status = 'dead' and g.schedule_type = 'one_time');
    exit when not found;
    again := array[step];
    loop
      behind := array(
        select c.id from pgsched.tasks c
        where c.id = any(group_row.fired) and c.id <> all(again) and c.status = 'cancelled' and c.depends_on && again
          and c.last_error like 'task %, which it depends on, is %'
          and (c.dependency_mode = 'any' or not exists (
            select from unnest(c.depends_on) u left join pgsched.tasks t on t.id = u
            where u <> all(again) and coalesce(t.status in ('dead', 'cancelled'), true))));
      exit when cardinality(behind) = 0;
      again := again || behind;
    end loop;
    insert into pgsched.dependencies (upstream_id, task_id)
    select distinct u, c.id
    from pgsched.tasks c cross join unnest(c.depends_on) u join pgsched.tasks t on t.id = u
    where c.id = any(again) and c.id <> step and (u = any(again) or t.status in ('pending', 'running', 'blocked'));
    update pgsched.tasks c
    set status = 'blocked', completed_at = null, last_error = null, updated_at = now(),
      waiting_for = (select count(*) from pgsched.dependencies d where d.task_id = c.id)
    where c.id = any(again) and c.id <> step;
    insert into pgsched.dependencies (upstream_id, task_id) select a, group_row.id from unnest(again) a on conflict do nothing;
    -- A worker that gathers the results just now is fenced.
    update pgsched.tasks g
    set status = 'blocked', next_run_at = null, died_at = null, locked_by = null, locked_until = null, updated_at = now(),
      attempts = 0, last_error = case when group_row.status = 'dead' then null else g.last_error end,
      fencing_token = case when group_row.status = 'running'
        then greatest(nextval('pgsched.fencing_tokens'), g.fencing_token + 1) else g.fencing_token end,
      waiting_for = (select count(*) from pgsched.dependencies d where d.task_id = g.id)
    where g.id = group_row.id;
    exit when group_row.status <> 'dead';
    step := group_row.id;
  end loop;
end $$;
revoke execute on function pgsched.rejoin from public;
comment on function pgsched.rejoin is
  'For the schema: lets the group of a step that was retried wait for it again, and with it the steps that were cancelled because of it.';

create or replace function pgsched.retry(id bigint) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  task pgsched.tasks;
begin
  perform pgsched.lock_steps(array[retry.id]);
  task := pgsched.locked_task(retry.id);
  if task.status not in ('dead', 'cancelled') and not (task.status = 'pending' and task.attempts > 0) then
    raise object_not_in_prerequisite_state using
      message = format('task %s is %s and cannot be retried', task.id, task.status);
  end if;
  update pgsched.tasks t
  set status = 'pending', attempts = 0, died_at = null, completed_at = null, updated_at = now(), enabled = true,
    next_run_at = now(), fired = null,
    -- A schedule that ended goes on from now; a one-time task keeps its nominal time.
    planned_from = case when t.schedule_type = 'one_time' or task.status = 'pending' then t.planned_from else clock_timestamp() end
  where t.id = task.id;
  perform pgsched.rejoin(task.id);
end $$;
comment on function pgsched.retry is
  'Gives a dead or cancelled task, or one that waits for its backoff, all its attempts again, due now. Where it is a step, its group goes on.
id: The task.';

-- Groups: any of several, names alone, and steps that are added while they run.

create or replace function pgsched.group_steps(
  payload jsonb
) returns table (place bigint, name text, "order" numeric, parallel boolean, after text[], step jsonb)
language sql immutable as $$
select s.place, coalesce(s.step ->> 'name', s.step ->> 'task_type'),
  coalesce((s.step ->> 'order')::numeric, s.place), coalesce((s.step ->> 'parallel')::boolean, true),
  case when s.step ? 'after' then array(select jsonb_array_elements_text(s.step -> 'after')) end, s.step
from (
  -- A name alone is the step of that type.
  select case when jsonb_typeof(e.step) = 'string' then jsonb_set('{}', '{task_type}', e.step) else e.step end as step, e.place
  from jsonb_array_elements(payload -> 'steps') with ordinality as e(step, place)) as s
$$;

create or replace function pgsched.group_problem(payload jsonb) returns text
language plpgsql immutable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The rule that a group's payload breaks, or null.
declare
  one record;
  steps integer;
  laters integer[];
  earliers integer[];
  places integer[];  -- of each step, where its edges begin in the two above
  waits integer[];  -- of each step, for how many it still waits
  free integer[];
  before integer[];
  step integer;
  edge integer;
  head integer := 1;
begin
  if jsonb_typeof(payload -> 'steps') is distinct from 'array' or jsonb_array_length(payload -> 'steps') = 0 then
    return 'steps must be a list of one step or more';
  end if;
  if jsonb_array_length(payload -> 'steps') > 10000 then
    return 'steps must be at most 10000, got ' || jsonb_array_length(payload -> 'steps');
  end if;
  for one in
    select case when jsonb_typeof(s.step) = 'string' then jsonb_set('{}', '{task_type}', s.step) else s.step end as step, s.place
    from jsonb_array_elements(payload -> 'steps') with ordinality as s(step, place)
  loop
    if jsonb_typeof(one.step) <> 'object' then
      return format('step %s must be an object', one.place);
    end if;
    if jsonb_typeof(one.step -> 'task_type') is distinct from 'string' then
      return format('step %s must have a task_type', one.place);
    end if;
    if exists (select from jsonb_object_keys(one.step) k where k not in (
      'task_type', 'name', 'payload', 'metadata', 'order', 'parallel', 'after', 'queue', 'priority', 'max_attempts',
      'backoff', 'backoff_delay', 'backoff_max', 'backoff_factor', 'backoff_jitter', 'timeout', 'on_dependency_dead', 'dependency_mode', 'concurrency_key', 'tags')) then
      return format('step %s: %s is no key of a step', one.place, (
        select min(k) from jsonb_object_keys(one.step) k where k not in (
          'task_type', 'name', 'payload', 'metadata', 'order', 'parallel', 'after', 'queue', 'priority', 'max_attempts',
          'backoff', 'backoff_delay', 'backoff_max', 'backoff_factor', 'backoff_jitter', 'timeout', 'on_dependency_dead', 'dependency_mode', 'concurrency_key', 'tags')));
    end if;
    if one.step ? 'name' and jsonb_typeof(one.step -> 'name') <> 'string' then
      return format('step %s: name must be text', one.place);
    end if;
    if one.step ? 'order' and jsonb_typeof(one.step -> 'order') <> 'number' then
      return format('step %s: order must be a number', one.place);
    end if;
    if one.step ? 'parallel' and jsonb_typeof(one.step -> 'parallel') <> 'boolean' then
      return format('step %s: parallel must be true or false', one.place);
    end if;
    if one.step ? 'after' and (jsonb_typeof(one.step -> 'after') <> 'array'
      or exists (select from jsonb_array_elements(one.step -> 'after') a where jsonb_typeof(a) <> 'string')) then
      return format('step %s: after must be a list of names', one.place);
    end if;
    if one.step ? 'tags' and jsonb_typeof(one.step -> 'tags') <> 'array' then
      return format('step %s: tags must be a list', one.place);
    end if;
    if one.step ->> 'task_type' = 'pgsched.group' then
      perform pgsched.check_group(coalesce(one.step -> 'payload', '{}'));
    end if;
    -- The rules of the columns.
    perform (one.step ->> 'task_type')::pgsched.task_type, (one.step -> 'payload')::pgsched.payload,
      (one.step -> 'metadata')::pgsched.metadata, (one.step ->> 'queue')::pgsched.queue_name,
      (one.step ->> 'priority')::pgsched.priority, (one.step ->> 'max_attempts')::pgsched.max_attempts,
      (one.step ->> 'backoff')::pgsched.backoff, (one.step ->> 'backoff_delay')::pgsched.backoff_delay,
      (one.step ->> 'backoff_max')::pgsched.backoff_max, (one.step ->> 'backoff_factor')::pgsched.backoff_factor, (one.step ->> 'backoff_jitter')::pgsched.backoff_jitter, (one.step ->> 'timeout')::pgsched.timeout,
      (one.step ->> 'on_dependency_dead')::pgsched.on_dependency_dead, (one.step ->> 'dependency_mode')::pgsched.dependency_mode,
      (one.step ->> 'concurrency_key')::pgsched.concurrency_key;
  end loop;
  select s.name into one from pgsched.group_steps(payload) s group by s.name having count(*) > 1 limit 1;
  if found then
    return format('steps must have different names, %L is there twice', one.name);
  end if;
  select s.name, a.waits_for into one
  from pgsched.group_steps(payload) s cross join unnest(s."after") a(waits_for)
  where not exists (select from pgsched.group_steps(payload) o where o.name = a.waits_for) limit 1;
  if found then
    return format('step %L: after names %L, which is no step', one.name, one.waits_for);
  end if;
  if (select count(*) > 1000000 from pgsched.group_edges(payload)) then
    return 'steps must not wait for one another more than 1000000 times in all: put a step in between that joins them';
  end if;
  -- Take away what waits for nothing that is left, edge by edge; a circle stays.
  if exists (select from pgsched.group_steps(payload) s where cardinality(s."after") > 0) then
    steps := jsonb_array_length(payload -> 'steps');
    waits := array_fill(0, array[steps]);
    places := array_fill(0, array[steps]);
    before := array_fill(0, array[steps]);
    select array_agg(e.later order by e.earlier), array_agg(e.earlier order by e.earlier) into laters, earliers
    from (
      select later.place::integer as later, earlier.place::integer as earlier
      from pgsched.group_edges(payload) e
      join pgsched.group_steps(payload) later on later.name = e.name
      join pgsched.group_steps(payload) earlier on earlier.name = e.waits_for) e;
    for edge in 1..cardinality(laters) loop
      waits[laters[edge]] := waits[laters[edge]] + 1;
      if places[earliers[edge]] = 0 then
        places[earliers[edge]] := edge;
      end if;
    end loop;
    free := array(select i from generate_series(1, steps) i where waits[i] = 0);
    while head <= cardinality(free) loop
      step := free[head];
      edge := places[step];
      while edge > 0 and edge <= cardinality(laters) and earliers[edge] = step loop
        waits[laters[edge]] := waits[laters[edge]] - 1;
        if waits[laters[edge]] = 0 then
          free := free || laters[edge];
        end if;
        edge := edge + 1;
      end loop;
      head := head + 1;
    end loop;
    if cardinality(free) < steps then
      -- What is left waits for a circle or is in one: back along the edges, until a step comes twice.
      for edge in 1..cardinality(laters) loop
        if waits[laters[edge]] > 0 and waits[earliers[edge]] > 0 then
          before[laters[edge]] := earliers[edge];
        end if;
      end loop;
      step := (select min(i) from generate_series(1, steps) i where waits[i] > 0);
      for edge in 1..steps loop
        step := before[step];
      end loop;
      free := array[step];
      while before[step] <> free[1] loop
        step := before[step];
        free := free || step;
      end loop;
      return format('step %L waits for itself', (
        select min(s.name) from pgsched.group_steps(payload) s where s.place = any(free)));
    end if;
  end if;
  return null;
end $$;

create function pgsched.make_steps(task pgsched.tasks, plan jsonb, ids bigint[], made_before integer) returns integer
language plpgsql as $$
#variable_conflict use_column
-- Those of the first `made_before` ids are there already.
declare
  made integer;
begin
  insert into pgsched.tasks (
    id, task_type, task_name, queue, priority, payload, metadata, tags, tenant_id, user_id, created_by, schedule_type,
    scheduled_for, next_run_at, timezone, max_attempts, backoff, backoff_delay, backoff_max, timeout, depends_on,
    dependency_mode, on_dependency_dead, concurrency_key, parent_id, observed, backoff_factor, backoff_jitter)
  select ids[s.place], s.step ->> 'task_type', s.name, coalesce(s.step ->> 'queue', h.queue, task.queue),
    coalesce((s.step ->> 'priority')::smallint, h.priority, task.priority),
    coalesce(s.step -> 'payload', '{}'),
    coalesce(s.step -> 'metadata', h.metadata, task.metadata),
    case when s.step ? 'tags' then array(select jsonb_array_elements_text(s.step -> 'tags'))
      else coalesce(h.tags, task.tags) end,
    -- A group that somebody runs before its time: its steps are for now, or those behind the first would wait for it.
    task.tenant_id, task.user_id, task.created_by, 'one_time', least(task.scheduled_for, now()),
    clock_timestamp(), task.timezone,
    (s.step ->> 'max_attempts')::integer, s.step ->> 'backoff', (s.step ->> 'backoff_delay')::interval,
    (s.step ->> 'backoff_max')::interval, (s.step ->> 'timeout')::interval,
    coalesce(w.upstream, '{}'), s.step ->> 'dependency_mode', s.step ->> 'on_dependency_dead',
    coalesce(s.step ->> 'concurrency_key', h.concurrency_key, task.concurrency_key), task.id, true,
    (s.step ->> 'backoff_factor')::double precision, (s.step ->> 'backoff_jitter')::double precision
  from pgsched.group_steps(plan) s
  left join pgsched.task_defaults h on h.kind = 'handler' and h.name = s.step ->> 'task_type'
  left join (
    select e.name, array_agg(ids[o.place] order by o.place) as upstream
    from pgsched.group_edges(plan) e join pgsched.group_steps(plan) o on o.name = e.waits_for
    group by e.name) w on w.name = s.name
  where s.place > made_before
  order by s.place;
  get diagnostics made = row_count;
  if made < cardinality(ids) - made_before then
    raise integrity_constraint_violation using message = format(
      'of %s steps %s were not inserted: a trigger or a row security policy on pgsched.tasks keeps them out',
      cardinality(ids) - made_before, cardinality(ids) - made_before - made);
  end if;
  return made;
end $$;
revoke execute on function pgsched.make_steps from public;
comment on function pgsched.make_steps is 'For the schema: inserts the steps of a plan, of which the first ones may be there, as children of a group. Returns how many.';

create or replace function pgsched.fire_group(id bigint, token bigint) returns integer
language plpgsql as $$
-- Makes the children of a group's tick, and lets the group wait for them. For the worker that claimed it: with another
-- fencing token nothing happens and null is returned. The claim does not count as an attempt: the one that joins does.
#variable_conflict use_variable
declare
  task pgsched.tasks;
  ids bigint[];
begin
  select * into task from pgsched.tasks t
  where t.id = fire_group.id and t.fencing_token = token and t.status = 'running' for no key update;
  if not found then
    return null;
  end if;
  select array_agg(nextval(pg_get_serial_sequence('pgsched.tasks', 'id')) order by s.place) into ids
  from pgsched.group_steps(task.payload) s;
  update pgsched.tasks t
  set status = 'blocked', next_run_at = null, locked_by = null, locked_until = null, attempts = greatest(t.attempts - 1, 0),
    fired = ids, waiting_for = cardinality(ids), last_run_at = clock_timestamp(), updated_at = now()
  where t.id = task.id;
  insert into pgsched.dependencies (upstream_id, task_id) select unnest(ids), task.id;
  return pgsched.make_steps(task, task.payload, ids, 0);
end $$;

create function pgsched.add_steps(id bigint, steps jsonb) returns bigint[]
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The plan of what is there and what is new: of the steps that are there only their names count, and which tasks they are.
-- Steps are locked before their group, as finishes do it: those that the new ones wait for may be ending.
declare
  task pgsched.tasks;
  there bigint[];
  ids bigint[];
  plan jsonb;
  problem text;
  named text[];
begin
  if jsonb_typeof(steps) = 'object' then
    steps := steps -> 'steps';
  end if;
  if jsonb_typeof(steps) is distinct from 'array' then
    perform pgsched.check_group(jsonb_build_object('steps', steps));
  end if;
  named := array(
    select distinct a from pgsched.group_steps(jsonb_build_object('steps', steps)) s cross join unnest(s."after") a);
  perform from pgsched.tasks t
  where t.parent_id = add_steps.id and t.observed and t.task_name = any(named) order by t.id for no key update;
  task := pgsched.locked_task(add_steps.id);
  if task.task_type <> 'pgsched.group' then
    raise object_not_in_prerequisite_state using message = format('task %s is no group', task.id);
  elsif task.fired is null and task.status in ('pending', 'blocked') then
    raise object_not_in_prerequisite_state using message = format('group %s has not begun: change its plan instead', task.id);
  elsif not (task.status = 'blocked' or task.status = 'pending' and task.fired is not null) then
    raise object_not_in_prerequisite_state using
      message = format('group %s is %s: steps can be added while its steps run', task.id, task.status);
  end if;
  select jsonb_build_object('steps', jsonb_agg(jsonb_build_object(
      'task_type', 'step', 'name', coalesce(t.task_name, t.task_type), 'after', '[]'::jsonb) order by f.place) || steps),
    array_agg(t.id order by f.place)
  into plan, there
  from unnest(task.fired) with ordinality as f(id, place) join pgsched.tasks t on t.id = f.id;
  problem := pgsched.group_problem(plan);
  if problem is not null then
    raise invalid_parameter_value using message = format('steps of group %s: %s', task.id, problem);
  end if;
  ids := array(
    select nextval('pgsched.tasks_id_seq') from generate_series(1, jsonb_array_length(steps)));
  update pgsched.tasks t
  set status = 'blocked', next_run_at = null, fired = t.fired || ids, waiting_for = t.waiting_for + cardinality(ids),
    updated_at = now()
  where t.id = task.id;
  insert into pgsched.dependencies (upstream_id, task_id) select unnest(ids), task.id;
  perform pgsched.make_steps(task, plan, there || ids, cardinality(there));
  return ids;
end $$;
revoke execute on function pgsched.add_steps from public;
comment on function pgsched.add_steps is
  'Adds steps to a group whose steps run, which then waits for them, too. Returns their ids. Their order is that among themselves; after may name steps that are there.
id: The group.
steps: The steps, as in the plan of a group.';

create function pgsched.add_steps_by(worker uuid, id bigint, token bigint, steps jsonb) returns bigint[]
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- Before the finish of the step that adds them, in its transaction: what is fenced there is fenced here.
declare
  parent bigint := (select t.parent_id from pgsched.tasks t where t.id = add_steps_by.id);
  named text[] := array(
    select distinct a from pgsched.group_steps(jsonb_build_object('steps', steps)) s cross join unnest(s."after") a);
begin
  -- It is locked together with those that the new steps wait for.
  perform from pgsched.tasks t
  where t.id = add_steps_by.id or t.parent_id = parent and t.observed and t.task_name = any(named)
  order by t.id for no key update;
  if not exists (
    select from pgsched.tasks t
    where t.id = add_steps_by.id and t.status = 'running' and t.locked_by = worker and t.fencing_token = token) then
    return null;
  end if;
  if not exists (select from pgsched.tasks g where g.id = parent and add_steps_by.id = any(g.fired)) then
    raise invalid_parameter_value using message = format('task %s is no step of a group: it cannot add steps to it', id);
  end if;
  return pgsched.add_steps(parent, steps);
exception when object_not_in_prerequisite_state then
  raise invalid_parameter_value using message = sqlerrm;  -- of the outcome, which is not to be tried again
end $$;
revoke execute on function pgsched.add_steps_by from public;
comment on function pgsched.add_steps_by is
  'For workers: add_steps to the group of a step, for the attempt that has just ended; null when the claim was lost.';
