-- Works with programs of version 12 of the schema and later.
--
-- Silence is noticed: a task may say for how long it may have no success, and how long an attempt of it may run. The view
-- watched_tasks judges both from the history, by the database's clock, whether workers are there or not.

alter table pgsched.tasks
  add column alert_if_no_success_for interval,
  add column alert_if_running_for interval,
  add column judged_from timestamptz;
alter table pgsched.archived_tasks
  add column alert_if_no_success_for interval,
  add column alert_if_running_for interval,
  add column judged_from timestamptz;
alter table pgsched.queues add column resumed_at timestamptz;
comment on column pgsched.tasks.alert_if_no_success_for is
  'The task is silent when no attempt of it was completed for so long; counted from the first tick while there was none.';
comment on column pgsched.tasks.alert_if_running_for is 'An attempt that has run for so long is told of.';
comment on column pgsched.tasks.judged_from is
  'No success is asked for before: the last one that workers have noted, or when the task was enabled. Set by pgsched.';
comment on column pgsched.archived_tasks.alert_if_no_success_for is
  'The task is silent when no attempt of it was completed for so long; counted from the first tick while there was none.';
comment on column pgsched.archived_tasks.alert_if_running_for is 'An attempt that has run for so long is told of.';
comment on column pgsched.archived_tasks.judged_from is
  'No success is asked for before: the last one that workers have noted, or when the task was enabled. Set by pgsched.';
comment on column pgsched.queues.resumed_at is 'When the queue was last no longer paused: silence of its tasks is counted from then.';

-- The few tasks that are watched. Nothing in it is set by a claim.
create index if not exists tasks_watched on pgsched.tasks (id)
  where (alert_if_no_success_for is not null or alert_if_running_for is not null) and completed_at is null;
comment on index pgsched.tasks_watched is 'Tasks that say when silence or a long run is to be told of.';

-- The rules are a trigger's and not a domain's: a column of a domain with rules would be added by writing all rows anew.
create function pgsched.watch_task() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  named text;
  value interval;
  rule text;
begin
  for named, value in
    values ('alert_if_no_success_for', new.alert_if_no_success_for), ('alert_if_running_for', new.alert_if_running_for)
  loop
    rule := case when value < interval '1 second' or not pgsched.is_forward(value) then 'at least 1 second'
      when value > interval '1000 years' then 'at most 1000 years' end;
    if rule is not null then
      raise check_violation using
        message = format('%s must be %s, got %s', named, rule, value),
        constraint = format('%s_must_be_%s', named, replace(rule, ' ', '_')),
        column = named, table = 'tasks', schema = 'pgsched';
    end if;
  end loop;
  if tg_op = 'UPDATE' and new.enabled and not old.enabled then
    new.judged_from := now();
  end if;
  return new;
end $$;
comment on function pgsched.watch_task is
  'For the schema: checks when silence is to be told of, and counts it afresh when a task is enabled.';
create trigger silence before insert on pgsched.tasks
  for each row when (new.alert_if_no_success_for is not null or new.alert_if_running_for is not null)
  execute function pgsched.watch_task();
create trigger silence_edit before update of enabled, alert_if_no_success_for, alert_if_running_for on pgsched.tasks
  for each row when (new.alert_if_no_success_for is not null or new.alert_if_running_for is not null)
  execute function pgsched.watch_task();
create trigger touch_silence before update of alert_if_no_success_for, alert_if_running_for on pgsched.tasks
  for each row execute function pgsched.touch_task();

create function pgsched.note_resumed() returns trigger
language plpgsql as $$
#variable_conflict use_variable
begin
  new.resumed_at := now();
  return new;
end $$;
comment on function pgsched.note_resumed is 'For the schema: notes when a queue is no longer paused.';
create trigger resumed before update of paused on pgsched.queues
  for each row when (old.paused and not new.paused) execute function pgsched.note_resumed();
revoke execute on function pgsched.watch_task, pgsched.note_resumed from public;

-- Children that count for their parent: the ticks of a schedule that may overlap itself, dead ticks that are retried, copies
-- that somebody ran. The steps of a group are none, nor are groups inside a group: their payload is another.
create view pgsched.watched_tasks with (security_barrier) as
select t.id as task_id, t.task_type::text as task_type, t.task_name, t.queue::text as queue,
  t.alert_if_no_success_for, silence.since as no_success_since,
  t.alert_if_running_for, run.id as running_task_id, run.since as running_since,
  coalesce(silence.since + t.alert_if_no_success_for < now(), false) as is_silent,
  coalesce(run.since + t.alert_if_running_for < now(), false) as runs_too_long
from pgsched.tasks t
left join pgsched.queues q on q.name = t.queue
-- What was written while the clock was ahead counts no longer when it has come back.
left join lateral (select case when t.judged_from <= now() then t.judged_from end as since) noted on true
left join lateral (
  -- Of many attempts the latest are read; where a success was noted, none before it or before all that matters.
  select true as judged, greatest(
    (select max(e.finished_at) filter (where e.status = 'completed')
     from (select e.finished_at, e.status from pgsched.executions e
           where e.task_id = t.id and e.finished_at <= now()
             and e.started_at >= case when noted.since is null then '-infinity'
               else greatest(noted.since, now() - t.alert_if_no_success_for) - interval '1 day' end
           order by e.fencing_token desc limit 1000) e),
    (select max(c.completed_at) from pgsched.tasks c
     where c.parent_id = t.id and c.task_type = t.task_type
       and (t.task_type <> 'pgsched.group' or c.payload::jsonb = t.payload::jsonb)
       and c.status = 'completed' and c.completed_at <= now())) as at
) success on t.alert_if_no_success_for is not null and t.enabled and not coalesce(q.paused, false)
left join lateral (
  select greatest(case when q.resumed_at <= now() then q.resumed_at end, case
    when coalesce(noted.since, success.at) is not null then
      -- One that was enabled before its first tick is due then.
      greatest(noted.since, success.at, case
        when t.last_run_at is null and t.execution_count = 0
          and not exists (select from pgsched.missed_ticks m where m.task_id = t.id) then t.scheduled_for end)
    else coalesce(
      least(t.scheduled_for,
        (select coalesce(e.scheduled_for, e.started_at) from pgsched.executions e
         where e.task_id = t.id order by e.fencing_token limit 1),
        (select m.first_tick from pgsched.missed_ticks m where m.task_id = t.id order by m.noted_at limit 1),
        (select min(c.scheduled_for) from pgsched.tasks c where c.parent_id = t.id and c.task_type = t.task_type
          and (t.task_type <> 'pgsched.group' or c.payload::jsonb = t.payload::jsonb))),
      greatest(t.created_at, t.start_date)) end) as since
) silence on success.judged and not (t.schedule_type = 'one_time' and success.at is not null)
left join lateral (
  select k.id, k.since
  from (
    select t.id, case when t.status = 'running' and t.unbegun_token is distinct from t.fencing_token then t.started_at
      when t.status = 'blocked' and t.fired is not null then t.last_run_at end as since
    union all
    select c.id, case when c.status = 'running' and c.unbegun_token is distinct from c.fencing_token then c.started_at
      when c.status = 'blocked' and c.fired is not null then c.last_run_at end
    from pgsched.tasks c
    where c.parent_id = t.id and c.task_type = t.task_type
      and (t.task_type <> 'pgsched.group' or c.payload::jsonb = t.payload::jsonb)
  ) k
  where k.since is not null
  order by k.since
  limit 1
) run on t.alert_if_running_for is not null
where (t.alert_if_no_success_for is not null or t.alert_if_running_for is not null) and t.completed_at is null
  and (has_table_privilege('pgsched.tasks', 'select') or exists (select from pgsched.visible_tasks v where v.id = t.id));
grant select on pgsched.watched_tasks to public;
comment on view pgsched.watched_tasks is
  'Tasks with alert_if_no_success_for or alert_if_running_for, and how they stand. Neither paused tasks nor those of a paused queue are silent. Of visible_tasks only.';
do $$
declare
  one record;
begin
  for one in
    select * from (values
      ('task_id', 'The task.'),
      ('task_type', 'Its type.'),
      ('task_name', 'Its label.'),
      ('queue', 'Its queue.'),
      ('alert_if_no_success_for', 'For how long it may have no success.'),
      ('no_success_since', 'The last success, or since when there should be one; in the future: it is not due yet. Null: it is not judged.'),
      ('alert_if_running_for', 'How long an attempt may run.'),
      ('running_task_id', 'The row that runs: the task itself, or a child of it.'),
      ('running_since', 'When the longest of its attempts began that runs now.'),
      ('is_silent', 'It has had no success for alert_if_no_success_for.'),
      ('runs_too_long', 'An attempt has run for alert_if_running_for.')
    ) as v(name, meaning)
  loop
    execute format('comment on column pgsched.watched_tasks.%I is %L', one.name, one.meaning);
  end loop;
end $$;

-- More arguments make another function: whoever might call the old one may call it.
do $$
begin
  perform set_config('pgsched.rights', coalesce(p.proacl::text, ''), true)
  from pg_proc p where p.oid = 'pgsched.schedule'::regproc;
end $$;
drop function pgsched.schedule;
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
  concurrency_key text default null,
  backoff_factor double precision default null,
  backoff_jitter double precision default null,
  alert_if_no_success_for interval default null,
  alert_if_running_for interval default null
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
      alert_if_no_success_for, alert_if_running_for)
    values (
      schedule.task_type, coalesce(schedule.payload, '{}'),
      -- A day of a delay is 24 hours, whatever the zone of the session.
      coalesce(run_at, (now() at time zone interval '0' + delay) at time zone interval '0'), schedule.cron_expression,
      coalesce(schedule.timezone, 'UTC'), schedule.repeat_interval, schedule.repeat_count, schedule.start_date,
      schedule.end_date, coalesce(schedule.queue, 'default'), coalesce(schedule.priority, 5), schedule.idempotency_key,
      schedule.task_name, coalesce(schedule.tags, '{}'), coalesce(schedule.metadata, '{}'), schedule.tenant_id,
      schedule.user_id, schedule.created_by, coalesce(schedule.max_attempts, 3),
      coalesce(schedule.backoff, 'exponential'), coalesce(schedule.backoff_delay, '5 seconds'),
      coalesce(schedule.backoff_max, '1 hour'), schedule.timeout, coalesce(schedule.on_missed, 'once'),
      schedule.catchup_window, coalesce(schedule.overlap, 'skip'), schedule.jitter, coalesce(schedule.enabled, true),
      schedule.parent_id, coalesce(schedule.depends_on, '{}'), coalesce(schedule.dependency_mode, 'all'),
      coalesce(schedule.on_dependency_dead, 'cancel'), schedule.concurrency_key, schedule.backoff_factor,
      schedule.backoff_jitter, schedule.alert_if_no_success_for, schedule.alert_if_running_for)
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
  'backoff_jitter: How far retries are spread around their delay, as a share of it: 0 to 1.';
do $$
declare
  one record;
begin
  if current_setting('pgsched.rights') <> '' then
    revoke execute on function pgsched.schedule from public;
    for one in
      select case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end as grantee, a.is_grantable
      from aclexplode(current_setting('pgsched.rights')::aclitem[]) a
    loop
      execute format('grant execute on function pgsched.schedule to %s%s', one.grantee,
        case when one.is_grantable then ' with grant option' end);
    end loop;
  end if;
end $$;

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
  t.alert_if_no_success_for, t.alert_if_running_for, t.judged_from
from pgsched.tasks t
where has_table_privilege('pgsched.tasks', 'select')
  or t.inserted_by = session_user
  or exists (select from pgsched.tasks p where p.id = t.parent_id and p.inserted_by = session_user);
comment on column pgsched.visible_tasks.alert_if_no_success_for is
  'The task is silent when no attempt of it was completed for so long; counted from the first tick while there was none.';
comment on column pgsched.visible_tasks.alert_if_running_for is 'An attempt that has run for so long is told of.';
comment on column pgsched.visible_tasks.judged_from is
  'No success is asked for before: the last one that workers have noted, or when the task was enabled. Set by pgsched.';
