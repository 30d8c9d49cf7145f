-- Works with programs of version 12 of the schema and later.
--
-- The tick of a schedule that is a task of its own knows its number: execution_count is what its schedule had finished before.
create or replace function pgsched.guard_task() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- Refuses a row that says of itself what only a run of it can say. Three may: the tick of a schedule that the finish of its
-- parent inserts, which has its number; one that is dead; and any row in a session that restores rows as they were.
declare
  child boolean := exists (select from pgsched.tasks p where p.id = new.parent_id);
  buried boolean := child and new.status = 'dead' and new.died_at is not null;
  named text;
  value text;
begin
  if current_setting('pgsched.restoring', true) = 'on' then
    return new;
  end if;
  select g.named, g.value into named, value
  from (values
    ('status', new.status::text, new.status <> 'pending' and not buried),
    ('attempts', new.attempts::text, new.attempts <> 0 and not buried),
    ('died_at', new.died_at::text, new.died_at is not null and not buried),
    ('last_run_at', new.last_run_at::text, new.last_run_at is not null and not buried),
    ('last_error', left(new.last_error, 100), new.last_error is not null and not buried),
    ('completed_at', new.completed_at::text, new.completed_at is not null),
    ('started_at', new.started_at::text, new.started_at is not null),
    ('locked_by', new.locked_by::text, new.locked_by is not null),
    ('locked_until', new.locked_until::text, new.locked_until is not null),
    ('fencing_token', new.fencing_token::text, new.fencing_token <> 0),
    ('execution_count', new.execution_count::text, new.execution_count <> 0 and not child),
    ('revision', new.revision::text, new.revision <> 0),
    ('unbegun_token', new.unbegun_token::text, new.unbegun_token is not null),
    ('waiting_for', new.waiting_for::text, new.waiting_for <> 0),
    ('fired', left(new.fired::text, 100), new.fired is not null),
    ('progress', left(new.progress::text, 100), new.progress is not null),
    ('result', left(new.result::text, 100), new.result is not null)
  ) as g(named, value, foreign_value)
  where g.foreign_value
  limit 1;
  if named is not null then
    raise invalid_parameter_value using
      message = format('%s is set by pgsched and must be left out of an INSERT, got %s', named, value),
      hint = 'A new task is pending, and blocked when depends_on names tasks. To restore rows as they were: set pgsched.restoring = on.',
      column = named, table = 'tasks', schema = 'pgsched';
  end if;
  return new;
end $$;

create function pgsched.upsert(task jsonb, out id bigint, out outcome text)
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
  problem text := case
    when jsonb_typeof(task) is distinct from 'object' then 'a task must be a JSON object'
    when task ->> 'task_type' is null then 'task_type must be given'
    when key is null then 'idempotency_key must be given: it tells which task is meant'
    when task ->> 'run_at' is not null and task ->> 'delay' is not null then 'run_at and delay exclude each other'
    when at is not null and (task ->> 'cron_expression' is not null or task ->> 'repeat_interval' is not null)
      then 'run_at and delay are for one-time tasks; a schedule begins with start_date' end;
begin
  if problem is null then
    select format('%s is no argument of pgsched.schedule', k) into problem from jsonb_object_keys(task) k
    where k <> all (array(select unnest(p.proargnames) from pg_proc p where p.oid = 'pgsched.schedule'::regproc)) limit 1;
  end if;
  if problem is not null then
    raise invalid_parameter_value using message = problem;
  end if;
  given := task - array['run_at', 'delay'];
  if task ->> 'cron_expression' is not null then
    given := '{"repeat_interval": null, "repeat_count": null}' || given;
  elsif task ->> 'repeat_interval' is not null then
    given := '{"cron_expression": null}' || given;
  elsif at is not null then
    given := given || jsonb_build_object('scheduled_for', at);
  end if;
  for try in 1..10 loop
    select * into present from pgsched.tasks t where t.idempotency_key = key for no key update;
    exit when found;
    execute (
      select format('insert into pgsched.tasks (%1$s) select %1$s from jsonb_populate_record(null::pgsched.tasks, $1)'
        ' on conflict (idempotency_key) where idempotency_key is not null do nothing returning id', string_agg(quote_ident(k), ', '))
      from jsonb_each(given) e(k, v) where v <> 'null') into id using given;
    if id is not null then
      outcome := 'created';
      return;
    end if;
  end loop;
  if present.id is null then
    raise integrity_constraint_violation using
      message = 'the task was not inserted: a trigger or a row security policy on pgsched.tasks keeps it out';
  end if;
  id := present.id;
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
revoke execute on function pgsched.upsert from public;
comment on function pgsched.upsert is
  'Inserts a task, or changes the one with its idempotency_key: only what is given. Returns its id, and whether it was created, updated or unchanged. The keys of the object are the arguments of schedule(); times without an offset are UTC.';

create function pgsched.backfill(
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
          timeout, concurrency_key, parent_id, idempotency_key, depends_on, on_dependency_dead)
        values (
          task.task_type, task.task_name, task.queue, task.priority, task.payload, task.metadata, task.tags, task.tenant_id,
          task.user_id, task.created_by, 'one_time', tick, task.timezone, task.max_attempts, task.backoff,
          task.backoff_delay, task.backoff_max, task.backoff_factor, task.backoff_jitter, task.timeout, task.concurrency_key,
          task.id, format('tick:%s:%s', task.id, extract(epoch from tick)),
          case when task.overlap = 'skip' and before is not null then array[before] else '{}' end, 'run')
        returning t.id into task_id;
        before := task_id;
      end if;
    end if;
    return next;
  end loop;
end $$;
revoke execute on function pgsched.backfill from public;
comment on function pgsched.backfill is
  'Runs the ticks of a schedule in a past range, each as a child with parent_id; not those that ran already, or are still to run. outcome: run (it is to run; in a dry run without a task), ran (task_id ran it), booked (the schedule runs it itself).';

-- Ticks that somebody passes over.
alter table pgsched.missed_ticks drop constraint reason_must_be_once_skip_all_overlap_or_edit;
alter table pgsched.missed_ticks add constraint reason_must_be_once_skip_all_overlap_edit_paused_or_skipped
  check (reason in ('once', 'skip', 'all', 'overlap', 'edit', 'paused', 'skipped'));
comment on constraint reason_must_be_once_skip_all_overlap_edit_paused_or_skipped on pgsched.missed_ticks is
  'Why the ticks were not run: a policy of on_missed, or what somebody did.';
comment on column pgsched.missed_ticks.reason is
  'The on_missed policy that decided it; overlap: the last run was still running; edit: the schedule was edited; paused: it was enabled without catching up; skipped: by skip_next.';

create function pgsched.pass_over(task pgsched.tasks, until timestamptz, reason text) returns timestamptz
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- Books the first tick after an instant for a schedule that waits, and notes those before, counted as note_dropped() does.
declare
  ticks integer := 0;
  tick timestamptz := task.scheduled_for;
  later pgsched.tasks := pgsched.booked(task, until + interval '1 microsecond');
  next_tick timestamptz := case when later.status = 'pending' then later.scheduled_for end;
  -- The triggers that watch over edits let it pass. Not a setting of the function: an owner who is no superuser may not make that.
  restoring text := coalesce(current_setting('pgsched.restoring', true), '');
begin
  while ticks < 1000 and tick <= until loop
    ticks := ticks + 1;
    tick := pgsched.first_tick(task, tick + interval '1 microsecond');
  end loop;
  insert into pgsched.missed_ticks (task_id, task_type, queue, reason, ticks, first_tick, next_tick)
  values (task.id, task.task_type, task.queue, reason, ticks, task.scheduled_for, next_tick);
  perform set_config('pgsched.restoring', 'on', true);
  update pgsched.tasks t
  set status = later.status, scheduled_for = later.scheduled_for, next_run_at = later.next_run_at, attempts = 0,
    last_error = null, completed_at = later.completed_at, revision = t.revision + 1, updated_at = clock_timestamp()
  where t.id = task.id;
  perform set_config('pgsched.restoring', restoring, true);
  if task.observed and next_tick is null then
    perform pgsched.settle(array[task.id]);
  end if;
  return next_tick;
end $$;
revoke execute on function pgsched.pass_over from public;
comment on function pgsched.pass_over is 'For the schema: lets a schedule that waits pass over its ticks up to an instant.';

create function pgsched.skip_next(id bigint, out tick timestamptz, out next_tick timestamptz)
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  task pgsched.tasks := pgsched.locked_task(skip_next.id);
begin
  if task.schedule_type = 'one_time' then
    raise object_not_in_prerequisite_state using
      message = format('task %s is one_time, and has no next tick: cancel it', task.id);
  elsif task.status <> 'pending' then
    raise object_not_in_prerequisite_state using message = format('task %s is %s, and has booked no tick to skip', task.id, task.status);
  end if;
  tick := task.scheduled_for;
  next_tick := pgsched.pass_over(task, tick, 'skipped');
end $$;
revoke execute on function pgsched.skip_next from public;
comment on function pgsched.skip_next is
  'Skips the booked tick of a schedule, and notes that; again for one more. Returns it, and the tick that is booked instead: null when the schedule is over.';

-- More arguments make another function: whoever might call the old one may call it.
do $$
begin
  perform set_config('pgsched.rights', coalesce(p.proacl::text, ''), true)
  from pg_proc p where p.oid = 'pgsched.enable'::regproc;
end $$;
drop function pgsched.enable;
create function pgsched.enable(id bigint, catch_up boolean default true) returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  task pgsched.tasks := pgsched.locked_task(enable.id);
begin
  update pgsched.tasks t set enabled = true where t.id = task.id;
  if not (catch_up or task.enabled) and task.schedule_type <> 'one_time' and task.status = 'pending'
    and task.scheduled_for <= clock_timestamp() then
    perform pgsched.pass_over(task, clock_timestamp(), 'paused');
  end if;
  return not task.enabled;
end $$;
comment on function pgsched.enable is
  'Lets a paused task run again; ticks that passed meanwhile follow on_missed, and without catch_up none of them runs. True if it was paused.';
do $$
declare
  one record;
begin
  if current_setting('pgsched.rights') <> '' then
    revoke execute on function pgsched.enable from public;
    for one in
      select case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end as grantee, a.is_grantable
      from aclexplode(current_setting('pgsched.rights')::aclitem[]) a
    loop
      execute format('grant execute on function pgsched.enable to %s%s', one.grantee,
        case when one.is_grantable then ' with grant option' end);
    end loop;
  end if;
end $$;
