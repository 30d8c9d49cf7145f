-- Works with programs of version 12 of the schema and later.
--
-- One task for many calls: unique by what a task is, within a period or while it waits or runs, moved on by each further
-- call (debounce). And tasks that are not worth running when they have not started by some time.

alter table pgsched.tasks add column if not exists expires_at timestamptz;
alter table pgsched.archived_tasks add column expires_at timestamptz;
comment on column pgsched.tasks.expires_at is
  'One-time tasks: one that has not started by then is cancelled instead. Null: it does not expire.';
comment on column pgsched.archived_tasks.expires_at is
  'One-time tasks: one that has not started by then is cancelled instead. Null: it does not expire.';

-- Nothing in it is set by a claim, and it is empty but for tasks that may expire.
create index if not exists tasks_expiring on pgsched.tasks (expires_at)
  where expires_at is not null and completed_at is null and died_at is null;
comment on index pgsched.tasks_expiring is 'Tasks that may expire and are not over.';

-- The rules are a trigger's, which runs for tasks that expire: a check would be made of every row.
create function pgsched.check_expiry() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  problem text := case
    when coalesce(new.schedule_type, 'one_time') <> 'one_time' or new.cron_expression is not null
      or new.repeat_interval is not null then 'is for one-time tasks; a schedule ends with end_date'
    when new.expires_at < '0001-01-02 00:00:00+00' or new.expires_at >= '9999-12-31 00:00:00+00'
      then 'must be between the years 1 and 9999'
    when new.expires_at <= new.scheduled_for and (tg_op = 'INSERT' or new.status in ('pending', 'blocked'))
      then format('must be after scheduled_for, got %s and %s', new.expires_at, new.scheduled_for) end;
begin
  if problem is not null then
    raise invalid_parameter_value using
      message = 'expires_at ' || problem, column = 'expires_at', table = 'tasks', schema = 'pgsched';
  end if;
  return new;
end $$;
comment on function pgsched.check_expiry is 'For the schema: refuses an expires_at of a schedule, and one before the task is due.';
create trigger expiry before insert on pgsched.tasks
  for each row when (new.expires_at is not null) execute function pgsched.check_expiry();
create trigger expiry_edit before update of expires_at on pgsched.tasks
  for each row when (new.expires_at is not null) execute function pgsched.check_expiry();
create trigger touch_expiry before update of expires_at on pgsched.tasks
  for each row execute function pgsched.touch_task();

create function pgsched.expire_tasks(most integer default 1000) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- What a worker claims it judges itself; here is what none does: of a queue that nobody serves or that is paused, of an
-- unknown type, blocked, paused. What somebody has locked is about to run, or comes the next time.
declare
  task pgsched.tasks;
  observed bigint[] := '{}';
  number integer := 0;
  reason text;
begin
  for task in
    select t.* from pgsched.tasks t
    where t.expires_at <= now() and t.completed_at is null and t.died_at is null
      and t.status in ('pending', 'blocked') and t.fired is null and t.attempts = 0 and t.last_run_at is null
    order by t.expires_at limit most
    for no key update skip locked
  loop
    reason := format('expired: it had not started by %s',
      to_char(task.expires_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'));
    task.fencing_token := greatest(nextval('pgsched.fencing_tokens'), task.fencing_token + 1);
    update pgsched.tasks t
    set status = 'cancelled', next_run_at = null, completed_at = now(), last_run_at = now(), last_error = reason,
      fencing_token = task.fencing_token, waiting_for = 0, updated_at = now()
    where t.id = task.id;
    delete from pgsched.dependencies d where d.task_id = task.id;
    insert into pgsched.executions (
      task_id, task_type, queue, attempt, fencing_token, scheduled_for, status, started_at, finished_at, duration_ms, error)
    values (task.id, task.task_type, task.queue, 1, task.fencing_token, task.scheduled_for, 'cancelled', now(), now(), 0, reason);
    perform pgsched.tell_cancelled(task);
    if task.observed then
      observed := observed || task.id;
    end if;
    number := number + 1;
  end loop;
  if cardinality(observed) > 0 then
    perform pgsched.settle(observed);
  end if;
  return number;
end $$;
comment on function pgsched.expire_tasks is
  'For workers: cancels tasks that have not started by their expires_at, those that expired first; returns how many.';

create or replace view pgsched.visible_tasks with (security_barrier) as
select
  t.id, t.task_type, t.task_name, t.queue, t.priority, t.payload, t.metadata, t.tags, t.tenant_id, t.user_id,
  t.created_by, t.schedule_type, t.scheduled_for, t.cron_expression, t.timezone, t.start_date, t.end_date,
  t.repeat_interval, t.repeat_count, t.execution_count, t.on_missed, t.catchup_window, t.overlap, t.jitter,
  t.enabled, t.status, t.next_run_at, t.last_run_at, t.started_at, t.completed_at, t.died_at, t.attempts,
  t.max_attempts, t.backoff, t.backoff_delay, t.backoff_max, t.timeout, t.locked_by, t.locked_until,
  t.fencing_token, t.idempotency_key, t.depends_on, t.dependency_mode, t.on_dependency_dead, t.waiting_for, t.fired,
  t.concurrency_key, t.parent_id, t.progress, t.result, t.last_error, t.planned_from, t.created_at, t.updated_at,
  t.observed, t.revision, t.declared, t.inserted_by, t.backoff_factor, t.backoff_jitter,
  t.alert_if_no_success_for, t.alert_if_running_for, t.judged_from, t.expires_at
from pgsched.tasks t
where has_table_privilege('pgsched.tasks', 'select')
  or t.inserted_by = session_user
  or exists (select from pgsched.tasks p where p.id = t.parent_id and p.inserted_by = session_user);
comment on column pgsched.visible_tasks.expires_at is
  'One-time tasks: one that has not started by then is cancelled instead. Null: it does not expire.';

create or replace view pgsched.departed_tasks with (security_barrier) as
select
  e.task_id as id, t.task_type, t.task_name, t.queue, t.priority, t.payload, t.metadata, t.tags, t.tenant_id, t.user_id,
  t.created_by, t.schedule_type, t.scheduled_for, t.cron_expression, t.timezone, t.start_date, t.end_date,
  t.repeat_interval, t.repeat_count, t.execution_count, t.on_missed, t.catchup_window, t.overlap, t.jitter,
  t.enabled, t.status, t.next_run_at, t.last_run_at, t.started_at, t.completed_at, t.died_at, t.attempts,
  t.max_attempts, t.backoff, t.backoff_delay, t.backoff_max, t.timeout, t.locked_by, t.locked_until,
  t.fencing_token, t.idempotency_key, t.depends_on, t.dependency_mode, t.on_dependency_dead, t.waiting_for, t.fired,
  t.concurrency_key, t.parent_id, t.progress, t.result, t.last_error, t.planned_from, t.created_at, t.updated_at,
  t.observed, t.revision, t.declared, t.inserted_by, t.backoff_factor, t.backoff_jitter,
  t.alert_if_no_success_for, t.alert_if_running_for, t.judged_from, t.expires_at
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
comment on column pgsched.departed_tasks.expires_at is
  'One-time tasks: one that has not started by then is cancelled instead. Null: it does not expire.';

create or replace view pgsched.known_tasks with (security_barrier) as
select * from pgsched.visible_tasks union all select * from pgsched.departed_tasks;
comment on column pgsched.known_tasks.expires_at is
  'One-time tasks: one that has not started by then is cancelled instead. Null: it does not expire.';

create or replace function pgsched.remember(task pgsched.tasks) returns jsonb
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
      and task.alert_if_no_success_for is null and task.alert_if_running_for is null and task.expires_at is null
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
      'expires_at', task.expires_at,
      'on_dependency_dead', nullif(task.on_dependency_dead, 'cancel'),
      'dependency_mode', nullif(task.dependency_mode, 'all'), 'revision', nullif(task.revision, 0),
      'execution_count', nullif(greatest(task.execution_count, 1), 1), 'fired', task.fired))
      || case when task.payload = '{}' then '{}' else jsonb_build_object('payload', task.payload) end
      || case when task.metadata = '{}' then '{}' else jsonb_build_object('metadata', task.metadata) end
      || case when task.progress is null then '{}' else jsonb_build_object('progress', task.progress) end
  end
$$;

-- More arguments make another function: whoever might call the old one may call it.
do $$
begin
  perform set_config('pgsched.rights', coalesce(p.proacl::text, ''), true)
  from pg_proc p where p.oid = 'pgsched.schedule'::regproc;
end $$;
drop function pgsched.schedule;
create function pgsched.schedule(
  task_type text, payload jsonb default null, run_at timestamptz default null, delay interval default null,
  cron_expression text default null, timezone text default null, repeat_interval interval default null,
  repeat_count integer default null, start_date timestamptz default null, end_date timestamptz default null,
  queue text default null, priority integer default null, idempotency_key text default null,
  task_name text default null, tags text[] default null, metadata jsonb default null, tenant_id text default null,
  user_id text default null, created_by text default null, max_attempts integer default null, backoff text default null,
  backoff_delay interval default null, backoff_max interval default null, timeout interval default null,
  on_missed text default null, catchup_window interval default null, overlap text default null,
  jitter interval default null, enabled boolean default null, parent_id bigint default null,
  depends_on bigint[] default null, dependency_mode text default null, on_dependency_dead text default null,
  concurrency_key text default null, backoff_factor double precision default null,
  backoff_jitter double precision default null, alert_if_no_success_for interval default null,
  alert_if_running_for interval default null, expires_at timestamptz default null
) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  new_id bigint;
  tries integer := 0;
begin
  if run_at is not null and delay is not null then
    raise invalid_parameter_value using message = 'run_at and delay exclude each other';
  end if;
  if (run_at is not null or delay is not null) and (cron_expression is not null or repeat_interval is not null) then
    raise invalid_parameter_value using
      message = 'run_at and delay are for one-time tasks; a schedule begins with start_date';
  end if;
  while tries < 10 loop
    insert into pgsched.tasks as t (
      task_type, payload, scheduled_for, cron_expression, timezone, repeat_interval, repeat_count, start_date, end_date,
      queue, priority, idempotency_key, task_name, tags, metadata, tenant_id, user_id, created_by, max_attempts,
      backoff, backoff_delay, backoff_max, timeout, on_missed, catchup_window, overlap, jitter, enabled, parent_id,
      depends_on, dependency_mode, on_dependency_dead, concurrency_key, backoff_factor, backoff_jitter,
      alert_if_no_success_for, alert_if_running_for, expires_at)
    values (
      schedule.task_type, coalesce(schedule.payload, '{}'),
      -- A day of a delay is 24 hours, whatever the zone of the session.
      coalesce(run_at, (now() at time zone interval '0' + delay) at time zone interval '0'), schedule.cron_expression,
      schedule.timezone, schedule.repeat_interval, schedule.repeat_count, schedule.start_date,
      schedule.end_date, schedule.queue, schedule.priority, schedule.idempotency_key,
      schedule.task_name, schedule.tags, schedule.metadata, schedule.tenant_id,
      schedule.user_id, schedule.created_by, schedule.max_attempts,
      schedule.backoff, schedule.backoff_delay,
      schedule.backoff_max, schedule.timeout, schedule.on_missed,
      schedule.catchup_window, schedule.overlap, schedule.jitter, coalesce(schedule.enabled, true),
      schedule.parent_id, coalesce(schedule.depends_on, '{}'), schedule.dependency_mode,
      schedule.on_dependency_dead, schedule.concurrency_key, schedule.backoff_factor,
      schedule.backoff_jitter, schedule.alert_if_no_success_for, schedule.alert_if_running_for,
      schedule.expires_at)
    on conflict (idempotency_key) where idempotency_key is not null do nothing
    returning t.id into new_id;
    if new_id is not null then
      return new_id;
    end if;
    exit when schedule.idempotency_key is null;
    select t.id into new_id from pgsched.tasks t where t.idempotency_key = schedule.idempotency_key;
    if new_id is not null then
      return new_id;
    end if;
    -- The row that was in the way has been deleted meanwhile: insert again.
    tries := tries + 1;
  end loop;
  raise integrity_constraint_violation using
    message = 'the task was not inserted: a trigger or a row security policy on pgsched.tasks keeps it out';
end $$;
comment on function pgsched.schedule is
  e'Inserts a task and returns its id; on a known idempotency_key it returns the id of the task that has it. Null stands for the default of the column.\n'
  'run_at: Once, at this time; excludes delay and every kind of schedule.\n'
  'delay: Once, so long from now, a day being 24 hours; excludes run_at and every kind of schedule.\n'
  'backoff_factor: By what an exponential delay grows from retry to retry: 1 to 1000.\n'
  'backoff_jitter: How far retries are spread around their delay, as a share of it: 0 to 1.\n'
  'expires_at: One-time tasks: one that has not started by then is cancelled instead.';

create or replace function pgsched.schedule_by_key(
  task jsonb, on_conflict text default 'return', out id bigint, out outcome text, out differs text[]
) returns record
language plpgsql security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_variable
-- Its names are the arguments of pgsched.schedule. Whoever may not update tasks may change those that he inserted.
declare
  key constant text := task ->> 'idempotency_key';
  given jsonb;
  at timestamptz := coalesce((task ->> 'run_at')::timestamptz, now() + (task ->> 'delay')::interval);
  present pgsched.tasks;
  wanted pgsched.tasks;
  replaced bigint;
  problem text := case
    when jsonb_typeof(task) is distinct from 'object' then 'a task must be a JSON object'
    when task ->> 'task_type' is null then 'task_type must be given'
    when key is null then 'idempotency_key must be given: it tells which task is meant'
    when on_conflict is null or on_conflict not in ('return', 'keep', 'update', 'replace', 'raise')
      then format('on_conflict must be return, keep, update, replace or raise, got %s', coalesce(on_conflict, 'null'))
    when task ->> 'run_at' is not null and task ->> 'delay' is not null then 'run_at and delay exclude each other'
    when at is not null and (task ->> 'cron_expression' is not null or task ->> 'repeat_interval' is not null)
      then 'run_at and delay are for one-time tasks; a schedule begins with start_date' end;
begin
  if problem is null then
    -- Written down, since reading them in the catalogue would cost each call more than the insert of its key.
    given := task - '{
      task_type, payload, run_at, delay, cron_expression, timezone, repeat_interval, repeat_count, start_date,
      end_date, queue, priority, idempotency_key, task_name, tags, metadata, tenant_id, user_id, created_by,
      max_attempts, backoff, backoff_delay, backoff_max, timeout, on_missed, catchup_window, overlap, jitter,
      enabled, parent_id, depends_on, dependency_mode, on_dependency_dead, concurrency_key, backoff_factor,
      backoff_jitter, alert_if_no_success_for, alert_if_running_for, expires_at}'::text[];
    if given <> '{}' then
      problem := format('%s is no argument of pgsched.schedule', (select min(k) from jsonb_object_keys(given) k));
    end if;
  end if;
  if problem is not null then
    raise invalid_parameter_value using message = problem;
  end if;
  differs := '{}';
  given := task - array['run_at', 'delay'];
  if task ->> 'cron_expression' is not null then
    given := '{"repeat_interval": null, "repeat_count": null}' || given;
  elsif task ->> 'repeat_interval' is not null then
    given := '{"cron_expression": null}' || given;
  elsif at is not null then
    given := given || jsonb_build_object('scheduled_for', at);
  end if;
  for try in 1..100 loop
    -- Looked for first: an insert that meets it would prepare a whole row for nothing.
    if on_conflict in ('update', 'replace') then
      -- Locked by whoever comes first; the next one finds what that made of it.
      select * into present from pgsched.tasks t where t.idempotency_key = key for no key update;
    else
      select * into present from pgsched.tasks t where t.idempotency_key = key;
    end if;
    exit when found and on_conflict <> 'replace';
    if found then
      perform pgsched.give_up_key(present, key);
      replaced := present.id;
    end if;
    insert into pgsched.tasks as t (
      task_type, payload, scheduled_for, cron_expression, timezone, repeat_interval, repeat_count, start_date, end_date,
      queue, priority, idempotency_key, task_name, tags, metadata, tenant_id, user_id, created_by, max_attempts,
      backoff, backoff_delay, backoff_max, timeout, on_missed, catchup_window, overlap, jitter, enabled, parent_id,
      depends_on, dependency_mode, on_dependency_dead, concurrency_key, backoff_factor, backoff_jitter,
      alert_if_no_success_for, alert_if_running_for, expires_at)
    select
      r.task_type, coalesce(r.payload, '{}'), r.scheduled_for, r.cron_expression, r.timezone, r.repeat_interval,
      r.repeat_count, r.start_date, r.end_date, r.queue, r.priority, r.idempotency_key, r.task_name, r.tags, r.metadata,
      r.tenant_id, r.user_id, r.created_by, r.max_attempts, r.backoff, r.backoff_delay, r.backoff_max, r.timeout,
      r.on_missed, r.catchup_window, r.overlap, r.jitter, coalesce(r.enabled, true), r.parent_id,
      coalesce(r.depends_on, '{}'), r.dependency_mode, r.on_dependency_dead, r.concurrency_key, r.backoff_factor,
      r.backoff_jitter, r.alert_if_no_success_for, r.alert_if_running_for, r.expires_at
    -- Types without the rules of the columns, which the insert asks for once; the whole row of the table has twice as many.
    from jsonb_to_record(given) r(
      task_type text, payload jsonb, scheduled_for timestamptz, cron_expression text, timezone text, repeat_interval interval,
      repeat_count integer, start_date timestamptz, end_date timestamptz, queue text, priority smallint,
      idempotency_key text, task_name text, tags text[], metadata jsonb, tenant_id text, user_id text, created_by text,
      max_attempts integer, backoff text, backoff_delay interval, backoff_max interval, timeout interval, on_missed text,
      catchup_window interval, overlap text, jitter interval, enabled boolean, parent_id bigint, depends_on bigint[],
      dependency_mode text, on_dependency_dead text, concurrency_key text, backoff_factor double precision,
      backoff_jitter double precision, alert_if_no_success_for interval, alert_if_running_for interval,
      expires_at timestamptz)
    on conflict (idempotency_key) where idempotency_key is not null do nothing
    returning t.id into id;
    if id is not null then
      outcome := case when replaced is null then 'created' else 'replaced' end;
      if replaced is not null and present.status in ('pending', 'blocked') then
        update pgsched.tasks t set last_error = format('replaced by task %s', schedule_by_key.id) where t.id = replaced;
      end if;
      return;
    end if;
  end loop;
  if present.id is null or on_conflict = 'replace' then
    raise integrity_constraint_violation using
      message = 'the task was not inserted: a trigger or a row security policy on pgsched.tasks keeps it out';
  end if;
  id := present.id;
  if on_conflict = 'raise' then
    raise unique_violation using message = format('the key %L is taken by task %s', key, id),
      detail = format('Key (idempotency_key)=(%s) is taken by task %s.', key, id),
      constraint = 'idempotency_key_must_be_unique', column = 'idempotency_key', table = 'tasks', schema = 'pgsched';
  elsif on_conflict in ('return', 'keep') then
    outcome := 'existing';
    -- Of a task that he may not see nobody learns what it has.
    if present.inserted_by = session_user or has_table_privilege(session_user, 'pgsched.tasks', 'select') then
      differs := pgsched.differing(task, present);
    end if;
    return;
  end if;
  wanted := jsonb_populate_record(present, given);
  outcome := case when to_jsonb(wanted) = to_jsonb(present) then 'unchanged' else 'updated' end;
  if present.inserted_by is distinct from session_user and not has_any_column_privilege(session_user, 'pgsched.tasks', 'update') then
    raise insufficient_privilege using message = format('task %s has the idempotency_key %s, and was inserted by another role', id, key);
  elsif wanted.task_type <> present.task_type then
    raise invalid_parameter_value using
      message = format('task %s has the idempotency_key %s, and its task_type is %s, got %s', id, key, present.task_type, wanted.task_type);
  elsif present.status = 'cancelled'
    or outcome = 'updated' and present.schedule_type = 'one_time' and present.status in ('completed', 'dead') then
    raise object_not_in_prerequisite_state using
      message = format('task %s has the idempotency_key %s, and is %s: it cannot be changed', id, key, present.status);
  elsif at is not null and present.schedule_type <> 'one_time' then
    raise object_not_in_prerequisite_state using
      message = format('task %s is %s: run_at and delay are for one-time tasks', id, present.schedule_type);
  elsif outcome = 'updated' then
    execute (
      select format('update pgsched.tasks t set (%1$s) = (select %1$s from jsonb_populate_record($1, $2)) where t.id = $3',
        string_agg(quote_ident(k), ', '))
      from jsonb_object_keys(given) k) using present, given, id;
  end if;
end $$;

create function pgsched.unique_key(task jsonb, by text[] default null) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- A key of its own stands for itself. Else the type always counts; what is not in the payload counts as null.
declare
  payload constant jsonb := coalesce(nullif(task -> 'payload', 'null'), '{}');
  parts jsonb := '{}';
  word text;
begin
  if task ->> 'idempotency_key' is not null then
    if by is not null then
      raise invalid_parameter_value using
        message = 'by and idempotency_key exclude each other: a key of its own is unique by itself';
    end if;
    return task ->> 'idempotency_key';
  elsif task ->> 'task_type' is null then
    raise invalid_parameter_value using message = 'task_type must be given';
  elsif cardinality(by) = 0 then
    raise invalid_parameter_value using message = 'by must name queue, payload or payload.KEY, got nothing';
  end if;
  foreach word in array coalesce(by, '{payload}') loop
    if word = 'payload' then
      parts := parts || jsonb_build_object(word, payload);
    elsif word = 'queue' then
      parts := parts || jsonb_build_object(word, coalesce(
        task ->> 'queue',
        (select d.queue::text from pgsched.task_defaults d where d.kind = 'handler' and d.name = task ->> 'task_type'),
        'default'));
    elsif word like 'payload._%' then
      parts := parts || jsonb_build_object(word, payload -> substr(word, 9));
    else
      raise invalid_parameter_value using
        message = format('each of by must be queue, payload or payload.KEY, got %s', coalesce(word, 'null'));
    end if;
  end loop;
  return format('unique %s %s', task ->> 'task_type', left(encode(sha256(convert_to(parts::text, 'UTF8')), 'hex'), 32));
end $$;
comment on function pgsched.unique_key is
  'The idempotency_key that schedule_unique() gives a task: its own, or one made of its type and of what by names: payload (the default), payload.KEY, queue.';

create function pgsched.schedule_unique(
  task jsonb, by text[] default null, within interval default null, states text[] default null,
  debounce interval default null, max_wait interval default null, on_conflict text default 'return',
  out id bigint, out outcome text, out differs text[]
) returns record
language plpgsql security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_variable
-- A task holds its key for as long as the rule says. One that holds it no longer gives it up here, to the next one: nothing
-- has to be done when a task ends. The unique index and locks of rows decide among many sessions.
declare
  key constant text := pgsched.unique_key(task, by);
  holding constant text[] := coalesce(states,
    case when debounce is null then '{pending,blocked,running}' else '{pending,blocked}' end::text[]);
  given jsonb := task;
  present pgsched.tasks;
  status text;
  departed bigint;
  problem text := case
    when on_conflict is null or on_conflict not in ('return', 'keep', 'update', 'replace', 'raise')
      then format('on_conflict must be return, keep, update, replace or raise, got %s', coalesce(on_conflict, 'null'))
    when within <= interval '0' or not pgsched.is_forward(within) then format('within must be more than 0, got %s', within)
    when debounce <= interval '0' or not pgsched.is_forward(debounce)
      then format('debounce must be more than 0, got %s', debounce)
    when max_wait is not null and debounce is null then 'max_wait needs debounce'
    when max_wait < debounce then format('max_wait must not be less than debounce, got %s and %s', max_wait, debounce)
    when debounce is not null and (within is not null or states is not null) then 'debounce excludes within and states'
    when debounce is not null and on_conflict in ('replace', 'raise') then format('debounce excludes on_conflict %s', on_conflict)
    when debounce is not null and (task ->> 'run_at' is not null or task ->> 'delay' is not null
      or task ->> 'cron_expression' is not null or task ->> 'repeat_interval' is not null)
      then 'debounce says when the task starts: run_at, delay and schedules exclude it'
    when not states <@ '{pending,blocked,running,completed,dead,cancelled}'
      then format('each of states must be pending, blocked, running, completed, dead or cancelled, got %s',
        array_to_string(states, ', ', 'null'))
    when cardinality(states) = 0 and within is null then 'states must name one where there is no within' end;
begin
  if problem is not null then
    raise invalid_parameter_value using message = problem;
  end if;
  given := given || jsonb_build_object('idempotency_key', key);
  for try in 1..100 loop
    select * into present from pgsched.tasks t where t.idempotency_key = key;
    if not found then
      if within is not null and on_conflict <> 'replace' then
        -- Where tasks leave when they are completed, the history has those of the period.
        select max(e.task_id) into departed from pgsched.executions e
        where e.task ->> 'idempotency_key' = key and e.started_at > now() - within
          and coalesce((e.task ->> 'created_at')::timestamptz, e.scheduled_for) > now() - within;
        exit when departed is not null;
      end if;
      if debounce is not null then
        given := given || jsonb_build_object('run_at', now() + debounce);
      end if;
      select s.id, s.outcome, s.differs into id, outcome, differs from pgsched.schedule_by_key(given, 'return') s;
      if outcome = 'created' then
        return;
      end if;
      continue;  -- somebody was sooner: whether that one holds the key is asked like of any other
    end if;
    status := case when present.status = 'blocked' and present.fired is not null then 'running' else present.status end;
    if status = any(holding) or within is not null and status <> 'cancelled' and present.created_at + within > now() then
      if debounce is null then
        select s.id, s.outcome, s.differs into id, outcome, differs from pgsched.schedule_by_key(given, on_conflict) s;
        return;
      end if;
    elsif present.inserted_by is distinct from session_user
      and not has_any_column_privilege(session_user, 'pgsched.tasks', 'update')
      and (task ->> 'idempotency_key' is not null or status not in ('completed', 'dead', 'cancelled')) then
      raise insufficient_privilege using
        message = format('task %s has the idempotency_key %s, and was inserted by another role', present.id, key);
    end if;
    -- Locked, and as it is now: a worker may just have started it, or somebody else have moved it on.
    perform from pgsched.tasks t
    where t.id = present.id and t.idempotency_key = key and t.status = present.status
      and (t.fired is null) = (present.fired is null)
    for no key update;
    continue when not found;
    if debounce is not null and status = any(holding) then
      given := given || jsonb_build_object('run_at', least(now() + debounce, present.created_at + max_wait));
      select s.id, s.outcome, s.differs into id, outcome, differs from pgsched.schedule_by_key(given, 'update') s;
      return;
    end if;
    update pgsched.tasks t set idempotency_key = null where t.id = present.id;
  end loop;
  if departed is null then
    raise integrity_constraint_violation using
      message = 'the task was not inserted: a trigger or a row security policy on pgsched.tasks keeps it out';
  elsif on_conflict = 'raise' then
    raise unique_violation using message = format('the key %L is taken by task %s', key, departed),
      detail = format('Key (idempotency_key)=(%s) is taken by task %s.', key, departed),
      constraint = 'idempotency_key_must_be_unique', column = 'idempotency_key', table = 'tasks', schema = 'pgsched';
  elsif on_conflict = 'update' then
    raise object_not_in_prerequisite_state using
      message = format('task %s has the idempotency_key %s, and is completed: it cannot be changed', departed, key);
  end if;
  id := departed;
  outcome := 'existing';
  differs := '{}';
end $$;
comment on function pgsched.schedule_unique is
  e'Inserts a task unless one like it holds: then on_conflict says what becomes of that, as in schedule_by_key().\n'
  'task: The arguments of schedule(). Its idempotency_key says which task is like it; without one by does.\n'
  'by: What makes two tasks of a type alike: payload (the default), payload.KEY, queue.\n'
  'within: A task also holds for so long from when it was made, whatever has become of it, unless it was cancelled.\n'
  'states: In which it holds: pending, blocked and running, unless they are given.\n'
  'debounce: It starts so long after the last call: each one moves a task that has not started, and changes what is given.\n'
  'max_wait: With debounce: it starts at the latest so long after the first call.';
revoke execute on function
  pgsched.schedule_unique, pgsched.unique_key, pgsched.expire_tasks, pgsched.check_expiry from public;

-- Whoever schedules; and of schedule() whoever might call the one before.
do $$
declare
  one record;
begin
  if current_setting('pgsched.rights') <> '' then
    revoke execute on function pgsched.schedule from public;
    for one in
      select case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end as grantee, a.is_grantable
      from aclexplode(current_setting('pgsched.rights')::aclitem[]) a
      where a.privilege_type = 'EXECUTE'
    loop
      execute format('grant execute on function pgsched.schedule, pgsched.schedule_unique, pgsched.unique_key to %s%s',
        one.grantee, case when one.is_grantable then ' with grant option' end);
    end loop;
  end if;
end $$;
