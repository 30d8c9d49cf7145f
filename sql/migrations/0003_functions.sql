-- The functions for programs in other languages, and for hands in psql.

create function pgsched.schedule(
  task_type text,
  payload jsonb default null,
  run_at timestamptz default null,
  delay interval default null,
  cron_expression text default null,
  timezone text default null,
  repeat_interval interval default null,
  repeat_count integer default null,
  start_date timestamptz default null,
  end_date timestamptz default null,
  queue text default null,
  priority integer default null,
  idempotency_key text default null,
  task_name text default null,
  tags text[] default null,
  metadata jsonb default null,
  tenant_id text default null,
  user_id text default null,
  created_by text default null,
  max_attempts integer default null,
  backoff text default null,
  backoff_delay interval default null,
  backoff_max interval default null,
  timeout interval default null,
  on_missed text default null,
  catchup_window interval default null,
  overlap text default null,
  jitter interval default null,
  enabled boolean default null,
  parent_id bigint default null,
  depends_on bigint[] default null,
  dependency_mode text default null,
  on_dependency_dead text default null,
  concurrency_key text default null
) returns bigint
language plpgsql as $$
#variable_conflict use_column
declare
  new_id bigint;
begin
  if run_at is not null and delay is not null then
    raise invalid_parameter_value using message = 'run_at and delay exclude each other';
  end if;
  if (run_at is not null or delay is not null) and (cron_expression is not null or repeat_interval is not null) then
    raise invalid_parameter_value using
      message = 'run_at and delay are for one-time tasks; a schedule begins with start_date';
  end if;
  loop
    insert into pgsched.tasks as t (
      task_type, payload, scheduled_for, cron_expression, timezone, repeat_interval, repeat_count, start_date, end_date,
      queue, priority, idempotency_key, task_name, tags, metadata, tenant_id, user_id, created_by, max_attempts,
      backoff, backoff_delay, backoff_max, timeout, on_missed, catchup_window, overlap, jitter, enabled, parent_id,
      depends_on, dependency_mode, on_dependency_dead, concurrency_key)
    values (
      schedule.task_type, coalesce(schedule.payload, '{}'), coalesce(run_at, now() + delay), schedule.cron_expression,
      coalesce(schedule.timezone, 'UTC'), schedule.repeat_interval, schedule.repeat_count, schedule.start_date,
      schedule.end_date, coalesce(schedule.queue, 'default'), coalesce(schedule.priority, 5), schedule.idempotency_key,
      schedule.task_name, coalesce(schedule.tags, '{}'), coalesce(schedule.metadata, '{}'), schedule.tenant_id,
      schedule.user_id, schedule.created_by, coalesce(schedule.max_attempts, 3),
      coalesce(schedule.backoff, 'exponential'), coalesce(schedule.backoff_delay, '5 seconds'),
      coalesce(schedule.backoff_max, '1 hour'), schedule.timeout, coalesce(schedule.on_missed, 'once'),
      schedule.catchup_window, coalesce(schedule.overlap, 'skip'), schedule.jitter, coalesce(schedule.enabled, true),
      schedule.parent_id, coalesce(schedule.depends_on, '{}'), coalesce(schedule.dependency_mode, 'all'),
      coalesce(schedule.on_dependency_dead, 'cancel'), schedule.concurrency_key)
    on conflict (idempotency_key) where idempotency_key is not null do nothing
    returning t.id into new_id;
    if new_id is not null then
      return new_id;
    end if;
    select t.id into new_id from pgsched.tasks t where t.idempotency_key = schedule.idempotency_key;
    if new_id is not null then
      return new_id;
    end if;
    -- The row that was in the way has been deleted meanwhile: insert again.
  end loop;
end $$;
comment on function pgsched.schedule is
  'Inserts a task and returns its id; on a known idempotency_key it returns the id of the task that has it.';

create function pgsched.interval_parts(value interval) returns jsonb
language sql immutable strict as $$
-- Months, days and seconds: the same whatever the session's intervalstyle.
select jsonb_build_array(
  extract(year from value) * 12 + extract(month from value), extract(day from value),
  extract(hour from value) * 3600 + extract(minute from value) * 60 + extract(second from value))
$$;

create function pgsched.declaration(task pgsched.tasks) returns jsonb
language sql immutable as $$
-- What code may declare of a schedule, as one value: equal when nothing that was declared has changed.
select jsonb_build_object(
  'task_type', task.task_type, 'task_name', task.task_name, 'queue', task.queue, 'priority', task.priority,
  'payload', task.payload, 'metadata', task.metadata, 'tags', to_jsonb(task.tags), 'tenant_id', task.tenant_id,
  'user_id', task.user_id, 'cron_expression', task.cron_expression, 'timezone', task.timezone,
  'start_date', extract(epoch from task.start_date), 'end_date', extract(epoch from task.end_date),
  'repeat_interval', pgsched.interval_parts(task.repeat_interval), 'repeat_count', task.repeat_count,
  'on_missed', task.on_missed, 'catchup_window', pgsched.interval_parts(task.catchup_window),
  'overlap', task.overlap, 'jitter', pgsched.interval_parts(task.jitter), 'max_attempts', task.max_attempts,
  'backoff', task.backoff, 'backoff_delay', pgsched.interval_parts(task.backoff_delay),
  'backoff_max', pgsched.interval_parts(task.backoff_max), 'timeout', pgsched.interval_parts(task.timeout))
$$;
create function pgsched.locked_task(id bigint) returns pgsched.tasks
language plpgsql as $$
declare
  task pgsched.tasks;
begin
  select * into task from pgsched.tasks t where t.id = locked_task.id for update;
  if not found then
    raise no_data_found using message = format('task %s does not exist', id);
  end if;
  return task;
end $$;

create function pgsched.run_now(id bigint) returns bigint
language plpgsql as $$
declare
  task pgsched.tasks := pgsched.locked_task(run_now.id);
  child bigint;
begin
  if task.schedule_type = 'one_time' and task.status = 'running' then
    raise object_not_in_prerequisite_state using message = format('task %s is running already', task.id);
  end if;
  if task.schedule_type = 'one_time' and task.status = 'pending' then
    update pgsched.tasks t set next_run_at = least(t.next_run_at, now()), enabled = true where t.id = task.id;
    return task.id;
  end if;
  insert into pgsched.tasks as t (
    task_type, task_name, queue, priority, payload, metadata, tags, tenant_id, user_id, created_by, timezone,
    max_attempts, backoff, backoff_delay, backoff_max, timeout, concurrency_key, parent_id)
  values (
    task.task_type, task.task_name, task.queue, task.priority, task.payload, task.metadata, task.tags, task.tenant_id,
    task.user_id, task.created_by, task.timezone, task.max_attempts, task.backoff, task.backoff_delay,
    task.backoff_max, task.timeout, task.concurrency_key, task.id)
  returning t.id into child;
  return child;
end $$;
comment on function pgsched.run_now is
  'Makes a waiting one-time task due now; for any other runs a copy (a child with parent_id) and leaves the task as it is. Returns the id that runs.';

create function pgsched.enable(id bigint) returns boolean
language plpgsql as $$
declare
  task pgsched.tasks := pgsched.locked_task(enable.id);
begin
  update pgsched.tasks t set enabled = true where t.id = task.id;
  return not task.enabled;
end $$;
comment on function pgsched.enable is 'Lets a paused task run again; ticks that passed meanwhile follow on_missed. True if it was paused.';

create function pgsched.disable(id bigint) returns boolean
language plpgsql as $$
declare
  task pgsched.tasks := pgsched.locked_task(disable.id);
begin
  update pgsched.tasks t set enabled = false where t.id = task.id;
  return task.enabled;
end $$;
comment on function pgsched.disable is 'Pauses a task: it keeps its place and is not claimed. True if it was not paused before.';

create function pgsched.cancel(id bigint) returns void
language plpgsql as $$
declare
  task pgsched.tasks;
  children bigint[];
  child bigint;
begin
  -- A group's unfinished children first, and all of them locked before the group, as their finishes do it.
  select t.fired into children from pgsched.tasks t
  where t.id = cancel.id and t.status in ('pending', 'blocked', 'running');
  if children is not null then
    perform from pgsched.tasks t where t.id = any(children) order by t.id for no key update;
    foreach child in array children loop
      -- One may have gone with another that it waits for.
      if exists (select from pgsched.tasks t where t.id = child and t.status in ('pending', 'blocked', 'running')) then
        perform pgsched.cancel(child);
      end if;
    end loop;
  end if;
  task := pgsched.locked_task(cancel.id);
  if task.status not in ('pending', 'blocked', 'running') then
    if children is not null and task.status = 'cancelled' then
      return;
    end if;
    raise object_not_in_prerequisite_state using
      message = format('task %s is %s and cannot be cancelled', task.id, task.status);
  end if;
  -- The token moves on, so whatever the worker that runs it still writes is fenced.
  update pgsched.tasks t
  set status = 'cancelled', next_run_at = null, locked_by = null, locked_until = null, completed_at = now(),
    fencing_token = t.fencing_token + 1, waiting_for = 0, updated_at = now()
  where t.id = task.id;
  delete from pgsched.dependencies d where d.task_id = task.id;
  if task.status = 'running' then
    -- Not now(): the claim may have been made while this transaction waited for the row.
    insert into pgsched.executions (
      task_id, task_type, queue, attempt, fencing_token, scheduled_for, worker_id, status, started_at, finished_at,
      duration_ms, error)
    select task.id, task.task_type, task.queue, task.attempts, task.fencing_token, task.scheduled_for, task.locked_by,
      'cancelled', task.started_at, ended, extract(epoch from ended - task.started_at) * 1000, 'cancelled while running'
    from (select clock_timestamp() as ended) clock;
    perform pg_notify('pgsched_cancel', task.id::text);
  end if;
  perform pgsched.tell_cancelled(task);
  if task.observed then
    perform pgsched.settle(array[task.id]);
  end if;
end $$;
comment on function pgsched.cancel is
  'Stops a task for good: at once while it waits; while it runs its worker is told, and what it still writes is refused.';

create function pgsched.retry(id bigint) returns void
language plpgsql as $$
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
    -- A schedule goes on from now; a one-time task keeps its nominal time.
    scheduled_for = case when t.schedule_type = 'one_time' or task.status = 'pending' then t.scheduled_for end,
    planned_from = case when t.schedule_type = 'one_time' then t.planned_from else now() end
  where t.id = task.id;
end $$;
comment on function pgsched.retry is 'Gives a dead or cancelled task, or one that waits for its backoff, all its attempts again, due now.';

create function pgsched.make_partitions(days_ahead integer default 7) returns integer
language plpgsql as $$
-- Makes the partitions from today (UTC) to `days_ahead` days on. Built aside and attached, which unlike
-- CREATE TABLE ... PARTITION OF does not lock out readers and writers of the other partitions. Rows that an absent
-- partition sent to the default one are moved.
declare
  parent text;
  by_column text;
  day date;
  part text;
  made integer := 0;
begin
  perform pg_advisory_xact_lock(hashtext('pgsched.make_partitions'));
  foreach parent in array array['executions', 'execution_logs', 'missed_ticks'] loop
    by_column := case parent when 'executions' then 'started_at' when 'execution_logs' then 'logged_at' else 'noted_at' end;
    for offset_days in 0..days_ahead loop
      day := (now() at time zone 'UTC')::date + offset_days;
      part := parent || '_' || to_char(day, 'YYYYMMDD');
      if to_regclass('pgsched.' || part) is not null then
        continue;
      end if;
      execute format('create table pgsched.%I (like pgsched.%I including defaults including constraints)', part, parent);
      execute format(
        'with moved as (delete from pgsched.%I where %I >= %L and %I < %L returning *) insert into pgsched.%I select * from moved',
        parent || '_default', by_column,
        day::timestamp at time zone 'UTC', by_column,
        (day + 1)::timestamp at time zone 'UTC', part);
      execute format(
        'alter table pgsched.%I attach partition pgsched.%I for values from (%L) to (%L)', parent, part,
        day::timestamp at time zone 'UTC', (day + 1)::timestamp at time zone 'UTC');
      made := made + 1;
    end loop;
  end loop;
  return made;
end $$;
comment on function pgsched.make_partitions is 'Makes the daily partitions of the history ahead of time; returns how many were made.';

select pgsched.make_partitions();
