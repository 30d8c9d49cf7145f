-- Works with programs of version 12 of the schema and later.
--
-- A replan after the clock was set back books from now, and ticks after that instant may have run while the clock was
-- ahead. The row keeps those, and no booking takes one of them again.

alter table pgsched.tasks add column early_ticks timestamptz[];
comment on column pgsched.tasks.early_ticks is
  'Ticks that ran while the database''s clock was ahead, and are not run again: of a schedule that was replanned since. Null: none.';
alter table pgsched.archived_tasks add column early_ticks timestamptz[];
comment on column pgsched.archived_tasks.early_ticks is
  'Ticks that ran while the database''s clock was ahead, and are not run again: of a schedule that was replanned since. Null: none.';

-- As it was: so that its definition names every column of a task.
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

create or replace function pgsched.first_tick(task pgsched.tasks, moment timestamptz) returns timestamptz
language plpgsql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_variable
-- For planning: the first tick of a row at or after an instant, within start_date and end_date and not among its early_ticks;
-- null when there is none. The zone is set as names of zones are read; `at time zone` would look for an abbreviation first.
declare
  zone text := case when task.timezone <> 'UTC' then set_config('timezone', task.timezone, true) end;
  rule pgsched.cron_rule;
  tick timestamptz;
begin
  if task.cron_expression is not null then
    rule := pgsched.read_cron(task.cron_expression);
    if rule.problem is not null then
      raise invalid_parameter_value using
        message = format('cron_expression %L: %s', left(task.cron_expression, 100), rule.problem),
        column = 'cron_expression', table = 'tasks', schema = 'pgsched';
    end if;
  end if;
  loop
    if task.cron_expression is not null then
      tick := pgsched.cron_tick(rule, greatest(moment, task.start_date));
    elsif task.repeat_interval is not null then
      tick := pgsched.grid_tick(coalesce(task.start_date, task.scheduled_for, moment), task.repeat_interval, moment);
    end if;
    exit when task.early_ticks is null or tick is null or tick <> all(task.early_ticks);
    moment := tick + interval '1 microsecond';
  end loop;
  return case when tick < '9999-12-31 00:00:00+00' and (task.end_date is null or tick <= task.end_date) then tick end;
end $$;

create function pgsched.pass_early_ticks() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- What a worker books: it computes the next tick itself, and does not know which ones ran early.
declare
  tick timestamptz := new.scheduled_for;
begin
  if tick is distinct from old.scheduled_for and tick = any(new.early_ticks) then
    tick := pgsched.first_tick(new, tick);
    if tick is null then
      new.status := 'completed';
      new.next_run_at := null;
      new.completed_at := clock_timestamp();
    else
      new.scheduled_for := tick;
      new.next_run_at := pgsched.due_at(new.id, tick, new.jitter);
    end if;
  end if;
  -- Those before both the clock and the booked tick cannot come again.
  if new.early_ticks[1] <= least(new.scheduled_for, clock_timestamp()) then
    new.early_ticks := nullif(array(
      select e from unnest(new.early_ticks) e where e > least(new.scheduled_for, clock_timestamp()) order by e), '{}');
  end if;
  return new;
end $$;
comment on function pgsched.pass_early_ticks is
  'For the schema: books the next tick for a schedule whose booked one ran while the database''s clock was ahead.';
revoke execute on function pgsched.pass_early_ticks from public;
create trigger pass_early_ticks before update of scheduled_for on pgsched.tasks
  for each row when (new.early_ticks is not null and new.status = 'pending')
  execute function pgsched.pass_early_ticks();

create or replace function pgsched.replan(id bigint) returns timestamptz
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  task pgsched.tasks := pgsched.locked_task(replan.id);
  present constant timestamptz := clock_timestamp();
  due timestamptz;
begin
  if task.schedule_type = 'one_time' then
    raise object_not_in_prerequisite_state using message = format('task %s has no schedule to plan', task.id);
  elsif task.status in ('running', 'blocked') then
    raise object_not_in_prerequisite_state using
      message = format('task %s is %s and cannot be planned afresh before its run ends', task.id, task.status);
  end if;
  -- An origin of the interval that nobody gave is the instant of the INSERT or of an edit (pgsched.book_new). Where the clock was
  -- ahead then, no tick would come before it.
  update pgsched.tasks t
  set planned_from = present,
    start_date = case when t.schedule_type = 'repeating' and t.start_date > present
        and (t.start_date = t.planned_from or t.start_date <= t.created_at + interval '1 minute')
      then present else t.start_date end,
    early_ticks = nullif(array(
      select e.scheduled_for
      from pgsched.executions e
      where e.task_id = task.id and e.status = 'completed' and e.scheduled_for > present
        -- By the same clock, so it began later than its tick; or before, if the clock was set back during the run.
        and e.started_at > present - interval '1 day'
      union
      select c.scheduled_for from pgsched.tasks c where c.parent_id = task.id and c.scheduled_for > present
      union
      select early from unnest(t.early_ticks) early where early > present
      order by 1), '{}')
  where t.id = task.id
  returning t.next_run_at into due;
  return due;
end $$;
