-- Works with programs of version 12 of the schema and later.
--
-- Tasks that follow a schedule: with dependency_mode each, a row stays and gets a child for each tick of the schedule that it
-- depends on, made in the transaction that finishes the tick, whichever version its worker is of.

-- Not valid where there are rows: looking through them all would hold everybody up, and each has one of the two words.
alter domain pgsched.dependency_mode drop constraint dependency_mode_must_be_all_or_any;
alter domain pgsched.dependency_mode add constraint dependency_mode_must_be_all_any_or_each
  check (value in ('all', 'any', 'each')) not valid;
do $$
begin
  if not exists (select from pgsched.tasks) then
    begin
      alter domain pgsched.dependency_mode validate constraint dependency_mode_must_be_all_any_or_each;
    exception when feature_not_supported then
      null;  -- PostgreSQL 15.20 refuses it, as the view pgsched.departed_tasks uses the type of the table's rows
    end;
  end if;
end $$;
comment on constraint dependency_mode_must_be_all_any_or_each on domain pgsched.dependency_mode is 'One of the three modes.';
comment on column pgsched.tasks.dependency_mode is
  'Whether it waits for all of them or any, or (each) follows one schedule: it stays, and a child runs after each tick.';
alter table pgsched.task_defaults add constraint dependency_mode_each_is_for_single_tasks check (dependency_mode <> 'each');
comment on constraint dependency_mode_each_is_for_single_tasks on pgsched.task_defaults is
  'It says of one task which schedule it follows.';

create function pgsched.check_follower(task pgsched.tasks) returns void
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- Refuses a row with dependency_mode each that does not follow one schedule, or another row that does.
declare
  problem text := case
    when cardinality(task.depends_on) <> 1
      then format('dependency_mode each needs one task in depends_on, got %s', cardinality(task.depends_on))
    when exists (
      select from pgsched.tasks t
      where t.id = task.depends_on[1] and t.schedule_type = 'one_time' and t.dependency_mode <> 'each')
      then format('dependency_mode each follows a schedule, but task %s in depends_on is one_time', task.depends_on[1])
  end;
begin
  if problem is not null then
    raise invalid_parameter_value using
      message = problem, column = 'dependency_mode', table = 'tasks', schema = 'pgsched';
  end if;
end $$;
comment on function pgsched.check_follower is
  'For the schema: refuses dependency_mode each for a row that does not follow one schedule.';

create function pgsched.guard_follower() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
  if tg_op = 'UPDATE' then
    raise object_not_in_prerequisite_state using message =
      format('dependency_mode of task %s cannot be changed from %s to %s: schedule it anew', old.id, old.dependency_mode,
        new.dependency_mode);
  elsif new.scheduled_for is not null and current_setting('pgsched.restoring', true) is distinct from 'on' then
    raise invalid_parameter_value using message = format(
        'scheduled_for must be left out with dependency_mode each, which runs when a tick is completed, got %s', new.scheduled_for),
      column = 'scheduled_for', table = 'tasks', schema = 'pgsched';
  end if;
  perform pgsched.check_follower(new);
  return new;
end $$;
comment on function pgsched.guard_follower is
  'For the schema: checks a row that follows a schedule, and that rows neither begin nor cease to follow by an edit.';

create trigger each before insert on pgsched.tasks
  for each row when (new.dependency_mode = 'each') execute function pgsched.guard_follower();
create trigger each_edit before update of dependency_mode on pgsched.tasks
  for each row when ((old.dependency_mode = 'each') <> (new.dependency_mode = 'each')) execute function pgsched.guard_follower();

create function pgsched.follow(upstream bigint, tick timestamptz, ran bigint) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- Makes the runs of those who follow a schedule, for one of its ticks. `ran` is the task that ran it: the schedule itself, whose
-- tick is completed, so that the run is due; or a child, for which the run waits as any dependent does, so that a dead one is
-- answered by on_dependency_dead. The key has one run for each tick, whoever asks and however often.
-- A follower is locked in share mode: one that is being paused, cancelled or edited is as that transaction leaves it.
declare
  made integer;
begin
  perform set_config('pgsched.following', case when ran = upstream then 'on' else '' end, true);  -- for block_task
  insert into pgsched.tasks (
    task_type, task_name, queue, priority, payload, metadata, tags, tenant_id, user_id, created_by, inserted_by, schedule_type,
    scheduled_for, next_run_at, timezone, max_attempts, backoff, backoff_delay, backoff_max, backoff_factor, backoff_jitter,
    timeout, concurrency_key, parent_id, idempotency_key, depends_on, on_dependency_dead, observed,
    on_missed, overlap, dependency_mode)  -- complete: nobody else is asked what it is to have
  select f.task_type, f.task_name, f.queue, f.priority, f.payload, f.metadata, f.tags, f.tenant_id, f.user_id, f.created_by,
    f.inserted_by, 'one_time', tick, case when ran = upstream then clock_timestamp() end, f.timezone, f.max_attempts,
    f.backoff, f.backoff_delay, f.backoff_max, f.backoff_factor, f.backoff_jitter, f.timeout, f.concurrency_key, f.id,
    format('tick:%s:%s', f.id, extract(epoch from tick)), array[ran], f.on_dependency_dead, f.observed,
    'once', 'skip', 'all'
  from (
    select t.*
    from pgsched.tasks t
    where t.id = any(array(select d.task_id from pgsched.dependencies d where d.upstream_id = upstream))
      and t.dependency_mode = 'each' and t.status = 'blocked' and t.enabled
    order by t.id
    for share
  ) f
  on conflict (idempotency_key) where idempotency_key is not null do nothing;
  get diagnostics made = row_count;
  perform set_config('pgsched.following', '', true);
  return made;
end $$;
comment on function pgsched.follow is
  'For the schema: makes the runs of the tasks that follow a schedule, for a tick that this task ran: the schedule or a child. Returns how many.';

create function pgsched.follow_tick() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- A schedule has ended a tick that it ran itself. Which one, and how, is in the history that the same statement has written;
-- a tick that used up its attempts has left a dead child. One that a child runs is over when the child is.
declare
  tick timestamptz;
  ran bigint;
begin
  select e.scheduled_for, new.id into tick, ran
  from pgsched.executions e
  where e.task_id = new.id and e.fencing_token = old.fencing_token and e.started_at = new.last_run_at
    and e.status = 'completed'
  limit 1;
  if not found then
    select c.scheduled_for, c.id into tick, ran
    from pgsched.tasks c
    where c.parent_id = new.id and c.status = 'dead' and c.died_at = new.updated_at
    order by c.id desc
    limit 1;
  end if;
  if tick is not null then
    perform pgsched.follow(new.id, tick, ran);
  end if;
  return null;
end $$;
comment on function pgsched.follow_tick is
  'For the schema: a schedule that somebody waits for has ended a tick: makes the runs of the tasks that follow it.';

-- No finish of a one-time task that is completed names this column.
create trigger follow_tick after update of scheduled_for on pgsched.tasks
  for each row
    when (old.observed and old.status = 'running' and new.execution_count > old.execution_count
      and old.schedule_type <> 'one_time')
  execute function pgsched.follow_tick();

create or replace function pgsched.settle_ended(ids bigint[], told boolean) returns integer
language plpgsql as $$
#variable_conflict use_variable
-- Tells those who wait for these tasks that they have ended. Returns how many were released or cancelled.
-- Rows are locked in the order of their ids, here as in a finish.
-- `told`: the ends were told before, so who follows them has had its runs.
declare
  ended bigint[] := ids;
  over bigint[];
  new_ends boolean := not told;
  moved_rows integer := 0;
begin
  while cardinality(ended) > 0 loop
    if new_ends then
      perform pgsched.follow(t.parent_id, t.scheduled_for, t.id)
      from pgsched.tasks t
      where t.id = any(ended) and t.parent_id is not null and t.idempotency_key like 'tick:%'
        and t.status in ('completed', 'dead', 'cancelled');
    end if;
    new_ends := true;
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
        and case when t.dependency_mode = 'each'
          then u.status = 'deleted' or not u.good and t.on_dependency_dead = 'cancel'  -- it goes on from tick to tick
          else u.good or u.status = 'deleted' or t.on_dependency_dead <> 'wait' or t.fired is not null end
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
          when l.dependency_mode = 'each' then false
          when l.dependency_mode = 'any' then n.some_good or l.policy = 'run'
          else l.waiting_for - n.settled <= 0 and (n.bad_id is null or l.policy = 'run') end as released,
        l.dependency_mode = 'each' or l.policy <> 'run' and n.bad_id is not null
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

comment on function pgsched.settle_ended is
  'For workers: as settle. told: their ends were told before, so nobody follows them anew.';
revoke execute on function
  pgsched.settle_ended, pgsched.follow, pgsched.follow_tick, pgsched.guard_follower, pgsched.check_follower from public;

create or replace function pgsched.settle(ids bigint[]) returns integer
language plpgsql as $$
#variable_conflict use_variable
begin
  return pgsched.settle_ended(ids, false);
end $$;
do $$
declare
  one record;
begin
  for one in
    select distinct case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end as grantee
    from pg_proc p cross join aclexplode(p.proacl) a
    where p.oid = 'pgsched.settle'::regproc and a.privilege_type = 'EXECUTE' and a.grantee <> p.proowner
  loop
    execute format('grant execute on function pgsched.settle_ended, pgsched.follow to %s', one.grantee);
  end loop;
end $$;

create or replace function pgsched.watch_dependencies() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- At the commit of a row that waits: marks those it waits for, and settles what has ended by then. All of them are locked,
-- also those that are marked already: one that is just being ended by another transaction is waited for.
begin
  perform from pgsched.tasks t where t.id = any(new.depends_on) order by t.id for no key update;
  update pgsched.tasks t set observed = true where t.id = any(new.depends_on) and not t.observed;
  perform pgsched.settle_ended(array(
    select d from unnest(new.depends_on) d left join pgsched.tasks t on t.id = d
    where t.id is null or t.status in ('completed', 'dead', 'cancelled')), true);
  return null;
end $$;

create or replace function pgsched.block_task(task pgsched.tasks, waiting_for integer) returns pgsched.tasks
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- A row that depends on so many others.
begin
  if task.schedule_type <> 'one_time' then
    raise invalid_parameter_value using message = 'depends_on is for one-time tasks, this one is ' || task.schedule_type,
      column = 'depends_on', table = 'tasks', schema = 'pgsched';
  end if;
  -- The run of a follower for a tick that the schedule has just completed: there is nothing to wait for.
  if current_setting('pgsched.following', true) = 'on' then
    perform pgsched.wake_sleepers(task.queue, task.next_run_at);
    return task;
  end if;
  task.status := 'blocked';
  task.next_run_at := null;
  task.waiting_for := block_task.waiting_for;
  return task;
end $$;

create or replace function pgsched.change_dependencies() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- An edit of depends_on: only of a row that has not begun, and with the rows it waits for locked until the commit. A trigger
-- after updates would do it as an insert does, but would be paid by every claim and finish.
declare
  ended record;
begin
  if old.status not in ('blocked', 'pending') or old.attempts > 0 or old.fired is not null then
    raise object_not_in_prerequisite_state using
      message = format('depends_on of task %s cannot be changed: it has begun or ended', old.id);
  end if;
  delete from pgsched.dependencies d where d.task_id = new.id;
  if new.dependency_mode = 'each' then
    perform pgsched.check_follower(new);
  end if;
  perform pgsched.check_dependencies(new.id, new.depends_on);
  perform from pgsched.tasks t where t.id = any(new.depends_on) order by t.id for no key update;
  select t.id, t.status into ended
  from pgsched.tasks t where t.id = any(new.depends_on) and t.status in ('dead', 'cancelled') limit 1;
  if found and new.on_dependency_dead = 'cancel' then
    raise invalid_parameter_value using message = format('depends_on: task %s is %s', ended.id, ended.status),
      column = 'depends_on', table = 'tasks', schema = 'pgsched';
  end if;
  insert into pgsched.dependencies (upstream_id, task_id)
  select t.id, new.id from pgsched.tasks t
  where t.id = any(new.depends_on) and (new.dependency_mode = 'each' or t.status <> 'completed'
    and not (t.status in ('dead', 'cancelled') and new.on_dependency_dead = 'run'));
  get diagnostics new.waiting_for = row_count;
  update pgsched.tasks t set observed = true where t.id = any(new.depends_on) and not t.observed;
  if new.waiting_for = 0
    or new.dependency_mode = 'any' and new.waiting_for < (select count(distinct u) from unnest(new.depends_on) u) then
    delete from pgsched.dependencies d where d.task_id = new.id;
    new.status := 'pending';
    new.next_run_at := greatest(new.scheduled_for, now());
    new.waiting_for := 0;
    if new.enabled then
      perform pgsched.wake_sleepers(new.queue, new.next_run_at);
    end if;
  else
    new := pgsched.block_task(new, new.waiting_for);
  end if;
  new.updated_at := now();
  return new;
end $$;

create or replace function pgsched.retry(id bigint, payload jsonb default null) returns void
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
  elsif payload is not null and task.inserted_by is distinct from session_user
    and not has_any_column_privilege(session_user, 'pgsched.tasks', 'update') then
    raise insufficient_privilege using
      message = format('task %s was inserted by another role: its payload cannot be changed', task.id);
  end if;
  update pgsched.tasks t
  set status = case when t.dependency_mode = 'each' then 'blocked' else 'pending' end, attempts = 0, died_at = null, completed_at = null, updated_at = now(), enabled = true,
    next_run_at = case when t.dependency_mode <> 'each' then now() end, fired = null, payload = coalesce(retry.payload, t.payload),
    -- A schedule that ended goes on from now; a one-time task keeps its nominal time.
    planned_from = case when t.schedule_type = 'one_time' or task.status = 'pending' then t.planned_from else clock_timestamp() end
  where t.id = task.id;
  if task.dependency_mode = 'each' then
    -- It follows its schedule again, from the next tick on.
    perform pgsched.check_dependencies(task.id, task.depends_on);
    insert into pgsched.dependencies (upstream_id, task_id) values (task.depends_on[1], task.id) on conflict do nothing;
    update pgsched.tasks t set waiting_for = 1 where t.id = task.id;
    update pgsched.tasks t set observed = true where t.id = task.depends_on[1] and not t.observed;
  end if;
  perform pgsched.rejoin(task.id);
end $$;

create or replace function pgsched.backfill(
  id bigint, since timestamptz, until timestamptz, max_ticks integer default 100, dry_run boolean default false,
  out tick timestamptz, out task_id bigint, out outcome text
) returns setof record
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The ticks from `since` to `until`, both included. Each becomes a child, by the key that it would have if ticks overlapped: so
-- never two, whoever asks at once. Where ticks must not overlap, each waits for the one before.
declare
  task pgsched.tasks := pgsched.locked_task(backfill.id);
  ticks timestamptz[] := '{}';
  before bigint;
  problem text := case
    when not coalesce(isfinite(since) and isfinite(until), false) then 'since and until must be given, and finite'
    when until < since then format('until must not be before since, got %s and %s', until, since)
    when until > clock_timestamp() then format('until must not be in the future, got %s', until)
    when max_ticks is null or max_ticks not between 1 and 100000 then format('max_ticks must be between 1 and 100000, got %s', max_ticks) end;
begin
  if problem is not null then
    raise invalid_parameter_value using message = problem;
  elsif task.schedule_type = 'one_time' or task.status = 'cancelled' then
    raise object_not_in_prerequisite_state using message =
      format('task %s is %s, and has no ticks to run', task.id, case when task.status = 'cancelled' then 'cancelled' else 'one_time' end);
  end if;
  tick := pgsched.first_tick(task, since);
  while tick <= until loop
    if cardinality(ticks) = max_ticks then
      raise invalid_parameter_value using
        message = format('task %s has more than %s ticks from %s to %s: give a shorter range, or a larger max_ticks', task.id, max_ticks, since, until);
    end if;
    ticks := ticks || tick;
    tick := pgsched.first_tick(task, tick + interval '1 microsecond');
  end loop;
  for tick, task_id in
    select t.tick, min(known.id)
    from unnest(ticks) as t(tick)
    left join (
      select e.scheduled_for, e.task_id as id from pgsched.executions e
      where e.task_id = task.id and e.status = 'completed'
      union all
      select c.scheduled_for, c.id from pgsched.tasks c where c.parent_id = task.id) known on known.scheduled_for = t.tick
    group by t.tick
    order by t.tick
  loop
    outcome := 'ran';
    if task_id is null and task.status in ('pending', 'running', 'blocked') and tick >= task.scheduled_for then
      outcome := 'booked';
      task_id := task.id;
    elsif task_id is null then
      outcome := 'run';
      if not dry_run then
        insert into pgsched.tasks as t (
          task_type, task_name, queue, priority, payload, metadata, tags, tenant_id, user_id, created_by, schedule_type,
          scheduled_for, timezone, max_attempts, backoff, backoff_delay, backoff_max, backoff_factor, backoff_jitter,
          timeout, concurrency_key, parent_id, idempotency_key, depends_on, on_dependency_dead, observed,
          on_missed, overlap, dependency_mode)
        values (
          task.task_type, task.task_name, task.queue, task.priority, task.payload, task.metadata, task.tags, task.tenant_id,
          task.user_id, task.created_by, 'one_time', tick, task.timezone, task.max_attempts, task.backoff,
          task.backoff_delay, task.backoff_max, task.backoff_factor, task.backoff_jitter, task.timeout, task.concurrency_key,
          task.id, format('tick:%s:%s', task.id, extract(epoch from tick)),
          case when task.overlap = 'skip' and before is not null then array[before] else '{}' end, 'run',
          task.observed, 'once', 'skip', 'all')
        returning t.id into task_id;
        before := task_id;
      end if;
    end if;
    return next;
  end loop;
end $$;

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
    if one.step ->> 'dependency_mode' = 'each' then
      return format('step %s: dependency_mode must be all or any, got ''each''', one.place);
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

create or replace function pgsched.wait(id bigint, timeout interval default '00:01:00'::interval) returns jsonb
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- Each look sees what has been committed by then, so the transaction must read committed rows. While this runs, its
-- caller holds a snapshot: vacuum cleans up nothing that has died since.
declare
  ends constant timestamptz := clock_timestamp() + timeout;
  pause double precision := 0.01;
  task record;
  begun bigint;
  since timestamptz;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise object_not_in_prerequisite_state using
      message = format('wait sees nothing new in a transaction that is %s', current_setting('transaction_isolation'));
  end if;
  loop
    select t.status::text as status, t.schedule_type <> 'one_time' or t.dependency_mode = 'each' as is_schedule,
      t.overlap::text as overlap, t.result, t.last_error, t.fencing_token
    into task
    from pgsched.known_tasks t where t.id = wait.id limit 1;
    if task is null then
      raise no_data_found using message = format('task %s does not exist', id);
    end if;
    begun := coalesce(begun, task.fencing_token - (task.status = 'running')::integer);
    since := coalesce(since, clock_timestamp());
    if task.status = 'completed' then
      return task.result;
    elsif task.status in ('dead', 'cancelled') then
      raise exception using errcode = 'PG002',
        message = format('task %s is %s', id, task.status) || coalesce(': ' || left(task.last_error, 1000), '');
    elsif task.is_schedule then
      select tick.result into task
      from (
        (select e.result from pgsched.visible_executions e
         where e.task_id = id and e.fencing_token > begun and e.status = 'completed'
         order by e.fencing_token limit 1)
        union all
        (select c.result from pgsched.visible_tasks c
         where c.parent_id = id and c.idempotency_key like 'tick:%' and c.status = 'completed'
           and c.completed_at >= since
         order by c.completed_at limit 1)
      ) tick limit 1;
      if found then
        return task.result;
      end if;
    end if;
    if clock_timestamp() >= ends then
      raise exception using errcode = 'PG003', message = format('task %s has not ended after %s', id, timeout);
    end if;
    perform pg_sleep(least(pause, greatest(extract(epoch from ends - clock_timestamp())::double precision, 0.001)));
    pause := least(pause * 1.5, 0.5);
  end loop;
end $$;
comment on function pgsched.wait is
  'Waits until a task is completed and returns its result; of a schedule, and of a task that follows one, that of its next completed tick. SQLSTATE PG002: it is dead or cancelled; PG003: the time is over. Looks after 10 ms, then less often, at last twice a second.';
