-- Works with programs of version 12 of the schema and later.
--
-- What a slip of the hand must not do: keep tasks for seconds that somebody meant to keep for days, or insert rows that have
-- never run as if they had. And producers see what became of their own tasks.

-- A retention under an hour is a missing unit more often than a wish, so it needs a word of its own. What is short already
-- goes on.
alter table pgsched.queues add column allow_short boolean not null default false;
alter table pgsched.settings add column allow_short boolean not null default false;
update pgsched.queues set allow_short = true where least(retention, dead_retention) < interval '1 hour';
update pgsched.settings set allow_short = true where least(retention, dead_retention) < interval '1 hour';
alter table pgsched.queues add constraint retention_must_be_at_least_1_hour_unless_allow_short
  check (allow_short or retention is null or retention >= interval '1 hour');
alter table pgsched.queues add constraint dead_retention_must_be_at_least_1_hour_unless_allow_short
  check (allow_short or dead_retention is null or dead_retention >= interval '1 hour');
alter table pgsched.settings add constraint retention_must_be_at_least_1_hour_unless_allow_short
  check (allow_short or retention is null or retention >= interval '1 hour');
alter table pgsched.settings add constraint dead_retention_must_be_at_least_1_hour_unless_allow_short
  check (allow_short or dead_retention is null or dead_retention >= interval '1 hour');
comment on column pgsched.queues.allow_short is
  'retention and dead_retention may be shorter than an hour. False: such a value is refused, as a unit was probably forgotten.';
comment on column pgsched.settings.allow_short is
  'retention and dead_retention may be shorter than an hour. False: such a value is refused, as a unit was probably forgotten.';
comment on constraint retention_must_be_at_least_1_hour_unless_allow_short on pgsched.queues is
  'An interval without a unit is in seconds: ''7'' would delete in seconds what was meant to be kept for days.';
comment on constraint dead_retention_must_be_at_least_1_hour_unless_allow_short on pgsched.queues is
  'An interval without a unit is in seconds: ''7'' would delete in seconds what was meant to be kept for days.';
comment on constraint retention_must_be_at_least_1_hour_unless_allow_short on pgsched.settings is
  'An interval without a unit is in seconds: ''7'' would delete in seconds what was meant to be kept for days.';
comment on constraint dead_retention_must_be_at_least_1_hour_unless_allow_short on pgsched.settings is
  'An interval without a unit is in seconds: ''7'' would delete in seconds what was meant to be kept for days.';

-- Which columns an INSERT may set. Not in prepare_task: the condition of a trigger costs next to nothing for the rows that
-- are as they should be, and those never get here.
create function pgsched.guard_task() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- Refuses a row that says of itself what only a run of it can say. Two rows may: the dead tick of a schedule, which the finish
-- of its parent inserts, and any row in a session that restores rows as they were.
declare
  buried boolean := new.status = 'dead' and new.died_at is not null
    and exists (select from pgsched.tasks p where p.id = new.parent_id);
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
    ('execution_count', new.execution_count::text, new.execution_count <> 0),
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
comment on function pgsched.guard_task is 'For the schema: refuses an INSERT that sets what only a run of the task can say.';
create trigger guard before insert on pgsched.tasks
  for each row
  when (new.status <> 'pending' or new.attempts <> 0 or new.died_at is not null or new.last_run_at is not null
    or new.last_error is not null or new.completed_at is not null or new.started_at is not null or new.locked_by is not null
    or new.locked_until is not null or new.fencing_token <> 0 or new.execution_count <> 0 or new.revision <> 0
    or new.unbegun_token is not null or new.waiting_for <> 0 or new.fired is not null or new.progress is not null or new.result is not null)
  execute function pgsched.guard_task();

-- A finished row without this time would be in no list of what ended, and never be deleted. Not valid where there are rows:
-- looking through them all would hold everybody up, and those that somebody changed by hand are left as they are. The doctor
-- says how it is validated.
alter table pgsched.tasks add constraint completed_at_if_and_only_if_completed_or_cancelled
  check ((completed_at is not null) = (status in ('completed', 'cancelled'))) not valid;
do $$
begin
  if not exists (select from pgsched.tasks) then
    alter table pgsched.tasks validate constraint completed_at_if_and_only_if_completed_or_cancelled;
  end if;
end $$;
comment on constraint completed_at_if_and_only_if_completed_or_cancelled on pgsched.tasks is
  'Finished tasks are listed, counted and deleted by the time when they ended.';

-- Whose a task is, for those who may read only their own. Without a value for the rows that are there.
alter table pgsched.tasks add column inserted_by text;
alter table pgsched.tasks alter column inserted_by set default session_user;
alter table pgsched.archived_tasks add column inserted_by text;
comment on column pgsched.tasks.inserted_by is
  'The database role that was logged in when the row was inserted. Producers see their own rows in visible_tasks.';

comment on column pgsched.archived_tasks.inserted_by is
  'The database role that was logged in when the row was inserted.';

-- What whoever asks may see: everything for roles that may read the tables, else the tasks that their own login inserted,
-- and the children of those. The views read the tables as their owner, and session_user is whoever logged in. Their columns
-- are named one by one: a view of all would keep users from dropping columns of their own.
create view pgsched.visible_tasks with (security_barrier) as
select
  t.id, t.task_type, t.task_name, t.queue, t.priority, t.payload, t.metadata, t.tags, t.tenant_id, t.user_id,
  t.created_by, t.schedule_type, t.scheduled_for, t.cron_expression, t.timezone, t.start_date, t.end_date,
  t.repeat_interval, t.repeat_count, t.execution_count, t.on_missed, t.catchup_window, t.overlap, t.jitter,
  t.enabled, t.status, t.next_run_at, t.last_run_at, t.started_at, t.completed_at, t.died_at, t.attempts,
  t.max_attempts, t.backoff, t.backoff_delay, t.backoff_max, t.timeout, t.locked_by, t.locked_until,
  t.fencing_token, t.idempotency_key, t.depends_on, t.dependency_mode, t.on_dependency_dead, t.waiting_for, t.fired,
  t.concurrency_key, t.parent_id, t.progress, t.result, t.last_error, t.planned_from, t.created_at, t.updated_at,
  t.observed, t.revision, t.declared, t.inserted_by
from pgsched.tasks t
where has_table_privilege('pgsched.tasks', 'select')
  or t.inserted_by = session_user
  or exists (select from pgsched.tasks p where p.id = t.parent_id and p.inserted_by = session_user);
comment on view pgsched.visible_tasks is
  'The tasks that you may see: all for roles that may read pgsched.tasks; for others those that they inserted, and their children.';

create view pgsched.visible_executions with (security_barrier) as
select
  e.task_id, e.task_type, e.queue, e.attempt, e.fencing_token, e.scheduled_for, e.worker_id, e.status, e.started_at,
  e.finished_at, e.duration_ms, e.result, e.error
from pgsched.executions e
where has_table_privilege('pgsched.executions', 'select')
  or exists (select from pgsched.visible_tasks t where t.id = e.task_id);
comment on view pgsched.visible_executions is 'The history of the tasks in visible_tasks; all of it for roles that may read pgsched.executions.';

create view pgsched.visible_missed_ticks with (security_barrier) as
select m.task_id, m.task_type, m.queue, m.reason, m.ticks, m.first_tick, m.next_tick, m.noted_at
from pgsched.missed_ticks m
where has_table_privilege('pgsched.missed_ticks', 'select')
  or exists (select from pgsched.visible_tasks t where t.id = m.task_id);
comment on view pgsched.visible_missed_ticks is
  'The missed ticks of the tasks in visible_tasks; all of them for roles that may read pgsched.missed_ticks.';

do $$
declare
  one record;
begin
  for one in
    select v.relname as view, a.attname as name, col_description(t.oid, b.attnum) as said
    from pg_class v
    join pg_class t on t.relnamespace = v.relnamespace and t.relname = replace(v.relname, 'visible_', '')
    join pg_attribute a on a.attrelid = v.oid and a.attnum > 0
    join pg_attribute b on b.attrelid = t.oid and b.attname = a.attname
    where v.relnamespace = 'pgsched'::regnamespace and v.relname like 'visible\_%'
  loop
    execute format('comment on column pgsched.%I.%I is %L', one.view, one.name, one.said);
  end loop;
end $$;

-- To everybody: the views themselves say who sees what.
grant select on pgsched.visible_tasks, pgsched.visible_executions, pgsched.visible_missed_ticks to public;
revoke execute on function pgsched.guard_task from public;
