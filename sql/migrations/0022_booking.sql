-- Works with programs of version 12 of the schema and later.
--
-- A schedule is right at once: the INSERT or the edit books its tick, by the rules of 0021, whether a worker runs or not.

create function pgsched.due_at(id bigint, tick timestamptz, jitter interval) returns timestamptz
language sql immutable
-- When a tick is due: so much later as due_at in pgsched/schedule.py says, the same for the same task and tick. All casts are
-- to text first: so it is immutable all through, and becomes part of the expression that calls it.
return case when jitter > interval '0' then tick + (
  ('x000' || left(encode(sha256((id::text || ':' || (extract(epoch from tick) * 1000000)::bigint::text)::bytea), 'hex'), 13))::bit(64)::bigint
  / 4503599627370496.0::double precision
  * least(extract(epoch from jitter), extract(epoch from timestamptz '9999-12-31 00:00:00+00') - extract(epoch from tick))
    ::double precision) * interval '1 second' else tick end;
comment on function pgsched.due_at is 'For the schema: when a tick of a task is due: up to its jitter later.';

create function pgsched.booked(task pgsched.tasks, moment timestamptz) returns pgsched.tasks
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The row with its first tick at or after an instant, or over.
declare
  tick timestamptz;
begin
  if task.repeat_count is null or task.execution_count < task.repeat_count then
    tick := pgsched.first_tick(task, moment);
  end if;
  task.attempts := 0;
  task.last_error := null;
  task.died_at := null;
  if tick is null then
    task.status := 'completed';
    task.next_run_at := null;
    task.completed_at := coalesce(task.completed_at, clock_timestamp());
  else
    task.status := 'pending';
    task.scheduled_for := tick;
    task.next_run_at := pgsched.due_at(task.id, tick, task.jitter);
    task.completed_at := null;
  end if;
  return task;
end $$;
comment on function pgsched.booked is
  'For the schema: a schedule with its first tick at or after an instant; completed when there is none.';

create function pgsched.refuse_tick(task pgsched.tasks, named text, value timestamptz) returns void
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
  raise invalid_parameter_value using
    message = format('%s is for one-time tasks; a %s one begins with start_date, got %s', named, task.schedule_type, value),
    column = named, table = 'tasks', schema = 'pgsched';
end $$;
comment on function pgsched.refuse_tick is 'For the schema: refuses a time that is given to a schedule by hand.';

create or replace function pgsched.prepare_task() returns trigger
language plpgsql as $$
#variable_conflict use_variable
-- Run for every row, in the session of whoever inserts it: so each name has its schema.
begin
  if new.schedule_type is null then
    new.schedule_type := case
      when new.cron_expression is not null then 'recurring'
      when new.repeat_interval is not null then 'repeating'
      else 'one_time' end;
  end if;
  if new.timezone operator(pg_catalog.<>) 'UTC' then
    perform pgsched.check_timezone(new.timezone);
  end if;
  if new.cron_expression is not null and (new.status operator(pg_catalog.<>) 'pending' or new.scheduled_for is not null) then
    perform pgsched.check_schedule(new);  -- any other is read to book it
  end if;
  if new.task_type operator(pg_catalog.=) 'pgsched.group' then
    perform pgsched.check_group(new.payload);
  end if;
  if new.status operator(pg_catalog.=) 'pending' then
    if new.schedule_type operator(pg_catalog.=) 'one_time' then
      new.scheduled_for := coalesce(new.scheduled_for, new.next_run_at, new.start_date, pg_catalog.now());
      new.next_run_at := coalesce(
        new.next_run_at,
        new.scheduled_for operator(pg_catalog.+) coalesce(new.jitter operator(pg_catalog.*) pg_catalog.random(), '0'));
    else
      new := pgsched.book_new(new, pg_catalog.statement_timestamp());
    end if;
    if pg_catalog.cardinality(new.depends_on) operator(pg_catalog.>) 0 then
      new := pgsched.block_task(new, (select pg_catalog.count(distinct u) from pg_catalog.unnest(new.depends_on) u)::integer);
      return new;
    end if;
    if new.enabled and exists (
      select from pgsched.workers w
      where w.sleeping_until operator(pg_catalog.>) new.next_run_at
        and (w.queues operator(pg_catalog.@>) array[new.queue::pg_catalog.text]
          or new.queue operator(pg_catalog.~~) any (w.patterns))) then
      perform pg_catalog.pg_notify('pgsched', new.queue);
    end if;
  end if;
  return new;
end $$;

create function pgsched.book_new(task pgsched.tasks, moment timestamptz) returns pgsched.tasks
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- A schedule that is inserted at an instant. One that is restored keeps the tick that it had.
begin
  if current_setting('pgsched.restoring', true) = 'on' and task.scheduled_for is not null then
    task.next_run_at := coalesce(task.next_run_at, task.scheduled_for);
    task.planned_from := least(task.planned_from, task.scheduled_for);
    task.start_date := coalesce(task.start_date, case when task.repeat_interval is not null then task.scheduled_for end);
    return task;
  elsif task.scheduled_for is not null then
    perform pgsched.refuse_tick(task, 'scheduled_for', task.scheduled_for);
  elsif task.next_run_at is not null then
    perform pgsched.refuse_tick(task, 'next_run_at', task.next_run_at);
  end if;
  task.planned_from := moment;
  if task.schedule_type = 'repeating' then
    -- The origin of the grid: every tick is computed from it, so that a month's end or a clock change does not shift the
    -- ticks after it.
    task.start_date := coalesce(task.start_date, moment);
  end if;
  return pgsched.booked(task, moment);
end $$;
comment on function pgsched.book_new is 'For the schema: a schedule that is inserted, with its first tick.';

create function pgsched.note_dropped(task pgsched.tasks, since timestamptz, until timestamptz, started timestamptz default null)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- Notes the ticks between two instants, both included, that an edit takes from a schedule; not those up to the last that was
-- due when a run `started`, which stands for them. Counted one by one, so no further than COUNT_LIMIT of pgsched/schedule.py.
declare
  first timestamptz;
  tick timestamptz;
  ticks integer := 0;
begin
  if pgsched.cron_problem(task.cron_expression) is not null then
    return;  -- taken by an older version, and never booked by this one
  end if;
  -- The tick that is booked may be of a schedule before: it waits for a retry since.
  tick := case when since = task.scheduled_for then since else pgsched.first_tick(task, since) end;
  while ticks < 1000 and tick <= until loop
    if pgsched.due_at(task.id, tick, task.jitter) <= started then
      ticks := 0;
    else
      ticks := ticks + 1;
      first := case when ticks = 1 then tick else first end;
    end if;
    tick := pgsched.first_tick(task, greatest(tick + interval '1 microsecond', task.planned_from));
  end loop;
  if ticks > 0 then
    insert into pgsched.missed_ticks (task_id, task_type, queue, reason, ticks, first_tick)
    values (task.id, task.task_type, task.queue, 'edit', ticks, first);
  end if;
end $$;
comment on function pgsched.note_dropped is 'For the schema: notes the ticks of a schedule that an edit took from it.';

create function pgsched.note_rest(task pgsched.tasks, until timestamptz) returns void
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- Notes the ticks after the one that runs at the moment, as an edit takes them from a schedule: which one it is, admit() in
-- pgsched/schedule.py has decided.
declare
  following timestamptz := greatest(task.scheduled_for + interval '1 microsecond', task.planned_from);
  started timestamptz := case when task.status = 'running' then task.started_at end;
  oldest timestamptz := started - make_interval(secs => extract(epoch from task.catchup_window)::double precision);
  slack interval := make_interval(secs => coalesce(extract(epoch from task.jitter), 0)::double precision);
  tick timestamptz;
begin
  if task.status = 'blocked' or task.locked_until < until or task.planned_from > started
    -- A tick that is given up, or retried; an attempt after one that was lost is measured like the first.
    or task.attempts > task.max_attempts and task.overlap = 'skip'
    or task.attempts > 1 and not exists (
      select from pgsched.executions e
      where e.task_id = task.id and e.fencing_token = task.fencing_token - 1 and e.status = 'lost') then
    started := null;
  elsif task.on_missed = 'all' then
    if pgsched.due_at(task.id, task.scheduled_for, task.jitter) < oldest then
      -- The first one after the last that was too old: what was before is noted by the run.
      following := greatest(following, oldest - slack);
      tick := pgsched.first_tick(task, following);
      while tick < oldest loop
        following := case when pgsched.due_at(task.id, tick, task.jitter) < oldest then tick + interval '1 microsecond' else following end;
        tick := pgsched.first_tick(task, tick + interval '1 microsecond');
      end loop;
      tick := pgsched.first_tick(task, following);
      if tick is null then
        return;
      end if;
      following := case when pgsched.due_at(task.id, tick, task.jitter) <= started then tick + interval '1 microsecond' else tick end;
    end if;
    started := null;
  else
    following := greatest(following, started - slack);
  end if;
  perform pgsched.note_dropped(task, following, until, started);
end $$;
comment on function pgsched.note_rest is 'For the schema: notes the ticks that an edit takes from a schedule that runs.';

create or replace function pgsched.replan_task() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- An edited schedule is planned at once when it waits, by its finish (pgsched.rebook) when it runs: that sees that the
-- revision has moved on. The clock is read while the row is locked, so no tick that was claimed comes after it.
declare
  present timestamptz := clock_timestamp();
  -- What was claimed came at the present moment or before.
  moment timestamptz := present + interval '1 microsecond';
  -- A tick whose retry was to come is over, too.
  until timestamptz := case when old.attempts > 0 then greatest(old.scheduled_for, present) else present end;
begin
  if current_setting('pgsched.restoring', true) = 'on' then
    return new;
  end if;
  if new.schedule_type = old.schedule_type then
    new.schedule_type := case
      when new.cron_expression is not null then 'recurring'
      when new.repeat_interval is not null then 'repeating'
      else 'one_time' end;
  end if;
  perform pgsched.check_schedule(new);
  new.revision := old.revision + 1;
  new.updated_at := present;
  if new.schedule_type = 'one_time' then
    return new;
  elsif new.status = 'cancelled' then
    raise object_not_in_prerequisite_state using
      message = format('task %s is cancelled: its schedule cannot be changed before it is retried', new.id);
  end if;
  if new.schedule_type = 'repeating' then
    new.start_date := coalesce(new.start_date, moment);
  end if;
  if (old.cron_expression, old.timezone, old.start_date, old.repeat_interval, old.planned_from)
    is distinct from (new.cron_expression, new.timezone, new.start_date, new.repeat_interval, new.planned_from)
    or old.end_date < present then
    -- Other ticks from now on, or ticks again after the end; those that the old ones still owe are over.
    new.planned_from := moment;
    if old.schedule_type <> 'one_time' and old.scheduled_for is not null then
      if old.status = 'pending' then
        perform pgsched.note_dropped(old, old.scheduled_for, until);
      elsif old.status in ('running', 'blocked') then
        perform pgsched.note_rest(old, present);
      end if;
    end if;
    if new.status in ('pending', 'completed', 'dead') then
      new := pgsched.booked(new, moment);
    end if;
  elsif new.status in ('completed', 'dead') then
    new := pgsched.booked(new, moment);  -- a later end, or more times
  elsif new.status = 'pending' then
    -- The ticks are the same, so the one that is booked stays, due or not.
    if old.scheduled_for > new.end_date or new.repeat_count <= new.execution_count then
      perform pgsched.note_dropped(old, old.scheduled_for, until);
      new := pgsched.booked(new, coalesce(new.end_date + interval '1 microsecond', moment));
    elsif new.jitter is distinct from old.jitter and old.attempts = 0 then
      -- A tick that came is not missed by a shorter jitter: it is due now. One that is due stays due.
      new.next_run_at := case when old.next_run_at <= present then old.next_run_at
        else greatest(pgsched.due_at(new.id, new.scheduled_for, new.jitter), present) end;
    end if;
  end if;
  if new.status = 'pending' and new.enabled then
    perform pgsched.wake_sleepers(new.queue, new.next_run_at);
  end if;
  return new;
end $$;
drop trigger replan on pgsched.tasks;
create trigger replan
  before update of schedule_type, cron_expression, timezone, start_date, end_date, repeat_interval, repeat_count, jitter, planned_from
  on pgsched.tasks
  for each row
  when ((old.schedule_type, old.cron_expression, old.timezone, old.start_date, old.end_date, old.repeat_interval, old.repeat_count,
      old.jitter, old.planned_from)
    is distinct from
    (new.schedule_type, new.cron_expression, new.timezone, new.start_date, new.end_date, new.repeat_interval, new.repeat_count,
      new.jitter, new.planned_from))
  execute function pgsched.replan_task();

create function pgsched.settle_task() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
  perform pgsched.settle(array[new.id]);
  return null;
end $$;
comment on function pgsched.settle_task is 'For the schema: tells who waits for a schedule that an edit has ended.';
create trigger settle_edited
  after update of end_date, repeat_count, cron_expression, timezone, start_date, repeat_interval, planned_from on pgsched.tasks
  for each row when (new.observed and new.status = 'completed' and old.status <> 'completed')
  execute function pgsched.settle_task();

create function pgsched.guard_tick() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- A worker moves the tick of a group that it fires, to a later one that has passed.
begin
  if current_setting('pgsched.restoring', true) is distinct from 'on'
    and (old.status <> 'running' or new.scheduled_for < old.scheduled_for or new.scheduled_for > clock_timestamp()) then
    perform pgsched.refuse_tick(new, 'scheduled_for', new.scheduled_for);
  end if;
  return new;
end $$;
comment on function pgsched.guard_tick is 'For the schema: refuses an UPDATE that gives a schedule another tick.';
create trigger guard_tick before update of scheduled_for on pgsched.tasks
  for each row
  when (new.scheduled_for <> old.scheduled_for and old.schedule_type <> 'one_time' and new.schedule_type <> 'one_time'
    and (old.status <> 'running' or new.status = 'running'))
  execute function pgsched.guard_tick();

create function pgsched.book_task() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- What came from a version that let workers book: a schedule that was never planned, or was edited while it ran.
begin
  new := pgsched.booked(new, greatest(new.planned_from,
    case when old.scheduled_for is not null then clock_timestamp() end,
    case when old.status = 'running' then old.scheduled_for + interval '1 microsecond' end));
  return new;
end $$;
comment on function pgsched.book_task is 'For the schema: books a schedule that waits without a tick.';
create trigger unbooked before update of scheduled_for on pgsched.tasks
  for each row
  when (new.scheduled_for is null and new.schedule_type <> 'one_time' and new.status = 'pending')
  execute function pgsched.book_task();

create function pgsched.rebook(
  task pgsched.tasks, tick timestamptz, next_tick timestamptz, started timestamptz, counted boolean
) returns timestamptz
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The next tick of a schedule that was edited since its claim, as book() in pgsched/schedule.py; null: it is over. `tick` ran
-- from `started` until now, or (not counted) nothing was run, and `next_tick` is what the worker would have booked.
declare
  moment timestamptz := clock_timestamp();
  -- A group began when it fired, any other when it was claimed.
  began timestamptz := least(started, task.started_at);
  following timestamptz;
  first timestamptz;
  ticks integer := 0;
begin
  if task.execution_count + counted::integer >= task.repeat_count then
    return null;
  elsif not counted then
    return pgsched.first_tick(task, case when task.planned_from > task.started_at then task.planned_from
      else coalesce(next_tick, moment) end);
  end if;
  following := pgsched.first_tick(task, greatest(tick + interval '1 microsecond', task.planned_from));
  if task.overlap = 'allow' or pgsched.due_at(task.id, following, task.jitter) <= began then
    return following;
  end if;
  first := following;
  while ticks < 1000 and pgsched.due_at(task.id, following, task.jitter) <= moment loop
    ticks := ticks + 1;
    following := pgsched.first_tick(task, case when ticks < 1000 then following + interval '1 microsecond' else moment end);
  end loop;
  if ticks > 0 then
    insert into pgsched.missed_ticks (task_id, task_type, queue, reason, ticks, first_tick, next_tick)
    values (task.id, task.task_type, task.queue, 'overlap', ticks, first, following);
  end if;
  return following;
end $$;
comment on function pgsched.rebook is
  'For workers: the next tick of a schedule that was edited while it ran; notes the ticks that came meanwhile.';

create or replace function pgsched.retry(id bigint) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  task pgsched.tasks := pgsched.locked_task(retry.id);
begin
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
end $$;

create function pgsched.replan(id bigint) returns timestamptz
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  task pgsched.tasks := pgsched.locked_task(replan.id);
  due timestamptz;
begin
  if task.schedule_type = 'one_time' then
    raise object_not_in_prerequisite_state using message = format('task %s has no schedule to plan', task.id);
  elsif task.status in ('running', 'blocked') then
    raise object_not_in_prerequisite_state using
      message = format('task %s is %s and cannot be planned afresh before its run ends', task.id, task.status);
  end if;
  update pgsched.tasks t set planned_from = clock_timestamp() where t.id = task.id returning t.next_run_at into due;
  return due;
end $$;
comment on function pgsched.replan is
  'Books a schedule afresh from now, whatever it was booked for; returns when it is due, null when it is over.';
revoke execute on function
  pgsched.replan, pgsched.rebook, pgsched.note_dropped, pgsched.note_rest, pgsched.settle_task, pgsched.guard_tick, pgsched.book_task
from public;

-- A day of a delay is 24 hours: what it is in the session's zone depends on who asks.
create or replace function pgsched.instant_after(delay interval) returns text
language sql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
-- Not 'UTC': a session may have a zone whose abbreviation that is, as UTC+14.
select to_char((now() + delay) at time zone interval '0', 'FMYYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;
-- How retries are spaced. Domains that get their rules afterwards: a column of one that has rules rewrites the table.
create domain pgsched.backoff_factor as double precision;
create domain pgsched.backoff_jitter as double precision;
alter table pgsched.tasks
  add column backoff_factor pgsched.backoff_factor,
  add column backoff_jitter pgsched.backoff_jitter;
alter table pgsched.archived_tasks
  add column backoff_factor pgsched.backoff_factor,
  add column backoff_jitter pgsched.backoff_jitter;
alter domain pgsched.backoff_factor add constraint backoff_factor_must_be_between_1_and_1000 check (value between 1 and 1000);
alter domain pgsched.backoff_jitter add constraint backoff_jitter_must_be_between_0_and_1 check (value between 0 and 1);
comment on constraint backoff_factor_must_be_between_1_and_1000 on domain pgsched.backoff_factor is
  'Delays must not shrink from retry to retry.';
comment on constraint backoff_jitter_must_be_between_0_and_1 on domain pgsched.backoff_jitter is
  'A share of the delay.';
comment on column pgsched.tasks.backoff_factor is
  'By what an exponential delay grows from retry to retry. Null: 2.';
comment on column pgsched.tasks.backoff_jitter is
  'How far retries are spread around their delay, as a share of it; 0: not at all. Null: 0.2.';
comment on column pgsched.archived_tasks.backoff_factor is
  'By what an exponential delay grows from retry to retry. Null: 2.';
comment on column pgsched.archived_tasks.backoff_jitter is
  'How far retries are spread around their delay, as a share of it; 0: not at all. Null: 0.2.';
comment on column pgsched.tasks.backoff_max is 'No retry is delayed longer; backoff_delay counts where that is longer.';

create or replace view pgsched.visible_tasks with (security_barrier) as
select
  t.id, t.task_type, t.task_name, t.queue, t.priority, t.payload, t.metadata, t.tags, t.tenant_id, t.user_id,
  t.created_by, t.schedule_type, t.scheduled_for, t.cron_expression, t.timezone, t.start_date, t.end_date,
  t.repeat_interval, t.repeat_count, t.execution_count, t.on_missed, t.catchup_window, t.overlap, t.jitter,
  t.enabled, t.status, t.next_run_at, t.last_run_at, t.started_at, t.completed_at, t.died_at, t.attempts,
  t.max_attempts, t.backoff, t.backoff_delay, t.backoff_max, t.timeout, t.locked_by, t.locked_until,
  t.fencing_token, t.idempotency_key, t.depends_on, t.dependency_mode, t.on_dependency_dead, t.waiting_for, t.fired,
  t.concurrency_key, t.parent_id, t.progress, t.result, t.last_error, t.planned_from, t.created_at, t.updated_at,
  t.observed, t.revision, t.declared, t.inserted_by, t.backoff_factor, t.backoff_jitter
from pgsched.tasks t
where has_table_privilege('pgsched.tasks', 'select')
  or t.inserted_by = session_user
  or exists (select from pgsched.tasks p where p.id = t.parent_id and p.inserted_by = session_user);
comment on column pgsched.visible_tasks.backoff_factor is
  'By what an exponential delay grows from retry to retry. Null: 2.';
comment on column pgsched.visible_tasks.backoff_jitter is
  'How far retries are spread around their delay, as a share of it; 0: not at all. Null: 0.2.';
comment on column pgsched.visible_tasks.backoff_max is 'No retry is delayed longer; backoff_delay counts where that is longer.';

-- The functions that make rows of options, with the new ones. A word that is not found is a mistake of this file.
create function pgsched.reworded(function regproc, variadic words text[]) returns text
language plpgsql as $$
declare
  definition text := pg_get_functiondef(function);
begin
  for i in 1..cardinality(words) by 2 loop
    if strpos(definition, words[i]) = 0 then
      raise exception '% does not contain %', function, words[i];
    end if;
    definition := replace(definition, words[i], words[i + 1]);
  end loop;
  return definition;
end $$;
do $$
begin
  execute pgsched.reworded('pgsched.run_now',
    'concurrency_key, parent_id)', 'concurrency_key, parent_id, backoff_factor, backoff_jitter)',
    'task.concurrency_key, task.id)', 'task.concurrency_key, task.id, task.backoff_factor, task.backoff_jitter)');
  execute pgsched.reworded('pgsched.fire_group',
    'concurrency_key, parent_id, observed)', 'concurrency_key, parent_id, observed, backoff_factor, backoff_jitter)',
    'task.concurrency_key), task.id, true', 'task.concurrency_key), task.id, true,'
      ' (s.step ->> ''backoff_factor'')::double precision, (s.step ->> ''backoff_jitter'')::double precision');
  execute pgsched.reworded('pgsched.group_problem',
    '''backoff_max'',', '''backoff_max'', ''backoff_factor'', ''backoff_jitter'',',
    '(one.step ->> ''backoff_max'')::pgsched.backoff_max,', '(one.step ->> ''backoff_max'')::pgsched.backoff_max,'
      ' (one.step ->> ''backoff_factor'')::pgsched.backoff_factor, (one.step ->> ''backoff_jitter'')::pgsched.backoff_jitter,');
  execute pgsched.reworded('pgsched.declaration',
    '''timeout'', pgsched.interval_parts(task.timeout))', '''timeout'', pgsched.interval_parts(task.timeout)) || jsonb_strip_nulls(jsonb_build_object('
      '''backoff_factor'', task.backoff_factor, ''backoff_jitter'', task.backoff_jitter))');
end $$;
drop function pgsched.reworded;

-- Whose rules of time zones hold: the database's, as it books what is inserted and edited. A worker that knows other rules of a
-- zone leaves the booking to the database, and when the database's own rules change, what was booked by the old ones moves.
create table pgsched.zone_rules (
  zone text primary key,
  since timestamptz not null,
  until timestamptz not null,
  changes timestamptz[] not null,
  offsets integer[] not null,
  noted_at timestamptz not null default now()
);
comment on table pgsched.zone_rules is 'The rules of the zones of schedules by which their ticks are booked.';
comment on column pgsched.zone_rules.zone is 'The IANA zone.';
comment on column pgsched.zone_rules.since is 'The years that are known, from here on.';
comment on column pgsched.zone_rules.until is 'The end of these years.';
comment on column pgsched.zone_rules.changes is 'When the clocks change.';
comment on column pgsched.zone_rules.offsets is 'Seconds east of UTC: before the first change, and from each on.';
comment on column pgsched.zone_rules.noted_at is 'When the rules were noted.';

create function pgsched.read_zone(zone text) returns pgsched.zone_rules
language plpgsql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_variable
-- The rules of this and the next four years as this session knows them; null of a zone that the database does not know.
declare
  day constant interval := '24 hours';
  rules pgsched.zone_rules;
  at timestamptz := date_trunc('year', now());
  shift integer;
begin
  rules := (zone, at, at + interval '5 years', '{}', '{}', now());
  begin
    perform set_config('timezone', zone, true);
  exception when invalid_parameter_value then
    return null;
  end;
  while at < rules.until loop
    shift := extract(epoch from at::timestamp - timezone(interval '0', at));
    if shift is distinct from rules.offsets[cardinality(rules.offsets)] then
      if cardinality(rules.offsets) > 0 then
        rules.changes := rules.changes || pgsched.clock_change(at - day, at);
      end if;
      rules.offsets := rules.offsets || shift;
    end if;
    at := at + day;
  end loop;
  return rules;
end $$;
comment on function pgsched.read_zone is 'For workers: the rules of a time zone for the years to come, as the database knows them.';

create function pgsched.offset_at(rules pgsched.zone_rules, at timestamptz) returns interval
language sql immutable
set search_path = pg_catalog, pg_temp as $$
select make_interval(secs => (rules).offsets[1 + (select count(*) from unnest((rules).changes) c where c <= at)]::integer)
where at >= (rules).since and at < (rules).until
$$;
comment on function pgsched.offset_at is 'For the schema: how far a zone is ahead of UTC at a time; null beyond the years that are known.';

create function pgsched.move_tick(task pgsched.tasks, rules pgsched.zone_rules) returns timestamptz
language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_variable
-- The tick of a schedule that was booked by other rules of its zone. Times of the day keep the wall clock, so none comes twice
-- that day; a rhythm goes on from now.
declare
  shift interval := pgsched.offset_at(rules, task.scheduled_for);
  wall timestamp := timezone(interval '0', task.scheduled_for) + shift;
begin
  if task.cron_expression is not null and not (pgsched.read_cron(task.cron_expression)).fixed then
    return pgsched.first_tick(task, least(task.scheduled_for, clock_timestamp() + interval '1 microsecond'));
  end if;
  perform set_config('timezone', task.timezone, true);
  return pgsched.first_tick(task, coalesce(pgsched.early_reading(wall, wall::timestamptz), task.scheduled_for));
end $$;
comment on function pgsched.move_tick is 'For the schema: the tick of a schedule by the new rules of its zone.';

create function pgsched.follow_zones() returns table (zone text, schedules bigint)
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  -- Not among the settings of the function: only a superuser may have those of others there.
  before text := current_setting('pgsched.restoring', true);
  known pgsched.zone_rules;
  noted pgsched.zone_rules;
  task pgsched.tasks;
  tick timestamptz;
begin
  perform pg_advisory_xact_lock(hashtext('pgsched.follow_zones'));
  perform set_config('pgsched.restoring', 'on', true);
  for zone in
    select distinct t.timezone from pgsched.tasks t
    where t.schedule_type <> 'one_time' and t.timezone <> 'UTC' and t.next_run_at is not null
  loop
    known := pgsched.read_zone(zone);
    continue when known.zone is null;  -- the doctor tells
    select * into noted from pgsched.zone_rules z where z.zone = known.zone;
    insert into pgsched.zone_rules select known.*
    on conflict on constraint zone_rules_pkey do update
    set since = excluded.since, until = excluded.until, changes = excluded.changes, offsets = excluded.offsets, noted_at = excluded.noted_at
    where (zone_rules.until, zone_rules.changes, zone_rules.offsets)
      is distinct from (excluded.until, excluded.changes, excluded.offsets);
    -- Up to where both are known; what is over does not matter.
    continue when noted.zone is null or not exists (
      select from unnest(array[now()] || known.changes || noted.changes) c
      where c between now() and least(known.until, noted.until) - interval '1 day'
        and pgsched.offset_at(known, c) is distinct from pgsched.offset_at(noted, c));
    schedules := 0;
    -- What runs meanwhile was claimed by a worker that may know the old rules: the database books its next tick. The wall
    -- clock of a tick that has begun does not come again that day.
    update pgsched.tasks t
    set revision = t.revision + 1,
      planned_from = case when t.cron_expression is null or (pgsched.read_cron(t.cron_expression)).fixed
        then greatest(t.planned_from, pgsched.move_tick(t, noted) + interval '1 microsecond') else t.planned_from end
    where t.timezone = known.zone and t.schedule_type <> 'one_time'
      and (t.status in ('running', 'blocked') or t.status = 'pending' and t.attempts > 0)
      and (t.cron_expression is not null or extract(day from t.repeat_interval) <> 0 or date_trunc('month', t.repeat_interval) <> '0');
    for task in
      select * from pgsched.tasks t
      where t.timezone = known.zone and t.schedule_type <> 'one_time' and t.status = 'pending' and t.attempts = 0
        and (t.cron_expression is not null or extract(day from t.repeat_interval) <> 0 or date_trunc('month', t.repeat_interval) <> '0')
      order by t.id
      for no key update
    loop
      tick := pgsched.move_tick(task, noted);
      continue when tick is not distinct from task.scheduled_for;
      update pgsched.tasks t
      set scheduled_for = coalesce(tick, t.scheduled_for), next_run_at = pgsched.due_at(t.id, tick, t.jitter),
        status = case when tick is null then 'completed' else 'pending' end, completed_at = case when tick is null then clock_timestamp() end,
        revision = t.revision + 1
      where t.id = task.id;
      schedules := schedules + 1;
    end loop;
    return next;
  end loop;
  perform set_config('pgsched.restoring', coalesce(before, ''), true);
end $$;
comment on function pgsched.follow_zones is
  'For workers: moves what was booked by rules of time zones that have changed since; returns these zones, and how many schedules moved.';
revoke execute on function pgsched.follow_zones, pgsched.move_tick, pgsched.read_zone, pgsched.offset_at from public;

grant execute on function pgsched.due_at, pgsched.booked, pgsched.book_new, pgsched.refuse_tick to public;

-- What waits for a worker to plan it.
do $$
declare
  one bigint;
begin
  for one in
    select t.id from pgsched.tasks t where t.schedule_type <> 'one_time' and t.scheduled_for is null and t.status = 'pending'
  loop
    begin
      update pgsched.tasks t set scheduled_for = null where t.id = one;
    exception when others then
      -- As a worker would end it.
      update pgsched.tasks t set status = 'dead', next_run_at = null, died_at = now(), last_error = sqlerrm where t.id = one;
    end;
  end loop;
end $$;
