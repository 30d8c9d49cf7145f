-- Works with programs of version 12 of the schema and later.
--
-- Durable handlers: a run that records its steps, and that is suspended while it sleeps or waits. Nothing is added to
-- pgsched.tasks: what a run has recorded stands in tables of its own, and ordinary tasks pay nothing for it.

create table pgsched.durable_runs (
  task_id bigint primary key,
  tick_number integer not null,
  began_at timestamptz not null,
  code_version text,
  awaits text[],
  wakes_at timestamptz,
  unasked text[]
) with (fillfactor = 70);
comment on table pgsched.durable_runs is
  'The runs of durable handlers that have recorded something and are not over: one row per task, named by began_at.';
comment on column pgsched.durable_runs.task_id is 'The task.';
comment on column pgsched.durable_runs.tick_number is 'Which tick of the task it is, from 1; always 1 for a one-time task.';
comment on column pgsched.durable_runs.began_at is
  'When the run began: its steps are filed under this time. A new tick and ctx.restart_with() begin another run.';
comment on column pgsched.durable_runs.code_version is 'The version of the code that began it.';
comment on column pgsched.durable_runs.awaits is
  'While the task is blocked in a wait: what ends the wait, as event:NAME, child:ID and time.';
comment on column pgsched.durable_runs.wakes_at is
  'While the task is blocked in a wait: when the first timeout or sleep among its waits is over.';
comment on column pgsched.durable_runs.unasked is
  'Recorded steps that the code no longer asked for when it went on behind them; the doctor reports them.';
create index durable_runs_waking on pgsched.durable_runs (wakes_at) where wakes_at is not null;
comment on index pgsched.durable_runs_waking is 'The waits that end at a time, in that order.';

create table pgsched.durable_steps (
  task_id bigint not null,
  began_at timestamptz not null,
  tick_number integer not null,
  name text not null,
  key text not null default '',
  kind text not null,
  status text not null,
  attempts integer not null default 0,
  result jsonb,
  error text,
  child_id bigint,
  cancels_child boolean not null default false,
  event_id bigint,
  wakes_at timestamptz,
  started_at timestamptz not null,
  finished_at timestamptz,
  fencing_token bigint not null,
  constraint kind_must_be_step_sleep_event_child_value_or_patch
    check (kind in ('step', 'sleep', 'event', 'child', 'value', 'patch')),
  constraint status_must_be_waiting_failing_completed_or_failed
    check (status in ('waiting', 'failing', 'completed', 'failed'))
) partition by range (began_at);
alter table pgsched.durable_steps replica identity full;
comment on table pgsched.durable_steps is
  'What the runs of durable handlers have recorded: one row per step, sleep, wait and child. Partitioned by day of began_at, in UTC.';
comment on column pgsched.durable_steps.task_id is 'The task; it may be deleted by now.';
comment on column pgsched.durable_steps.began_at is 'The run.';
comment on column pgsched.durable_steps.tick_number is 'Which tick of the task the run is, from 1.';
comment on column pgsched.durable_steps.name is 'The name that the handler gives it; with key it is unique in a run.';
comment on column pgsched.durable_steps.key is 'What tells steps of one name apart, as those of a loop; empty: nothing.';
comment on column pgsched.durable_steps.kind is
  'step (a function that was called), sleep, event (a wait for one), child (another task), value (a time, a random number) or patch.';
comment on column pgsched.durable_steps.status is
  'waiting, failing (it is tried again), completed, or failed for good: all its attempts failed, or the wait timed out.';
comment on column pgsched.durable_steps.attempts is 'Attempts of the step that have ended.';
comment on column pgsched.durable_steps.result is 'What the step returned, the payload of the event, the result of the child.';
comment on column pgsched.durable_steps.error is 'Why its last attempt failed.';
comment on column pgsched.durable_steps.child_id is 'The child task.';
comment on column pgsched.durable_steps.cancels_child is 'Whether the child is cancelled with this task.';
comment on column pgsched.durable_steps.event_id is 'The event that ended the wait.';
comment on column pgsched.durable_steps.wakes_at is 'When the sleep ends, the wait times out, or the step is tried again.';
comment on column pgsched.durable_steps.started_at is 'When it was begun first.';
comment on column pgsched.durable_steps.finished_at is 'When it was completed, or failed for good.';
comment on column pgsched.durable_steps.fencing_token is 'The claim that recorded it last.';
comment on constraint kind_must_be_step_sleep_event_child_value_or_patch on pgsched.durable_steps is 'What a step can be.';
comment on constraint status_must_be_waiting_failing_completed_or_failed on pgsched.durable_steps is 'How a step can stand.';
create unique index durable_steps_name on pgsched.durable_steps (task_id, began_at, name, key);
comment on index pgsched.durable_steps_name is 'A step is recorded once in a run.';
create table pgsched.durable_steps_default partition of pgsched.durable_steps default;
alter table pgsched.durable_steps_default replica identity full;

create table pgsched.durable_events (
  id bigint generated always as identity primary key,
  task_id bigint not null,
  tick_number integer not null,
  name text not null,
  payload jsonb,
  key text,
  sent_by text not null default session_user,
  sent_at timestamptz not null default clock_timestamp(),
  consumed_at timestamptz,
  sent_in xid8 not null default pg_current_xact_id()
);
alter table pgsched.durable_events replica identity full;
comment on table pgsched.durable_events is 'The mailboxes of durable tasks: events that were sent to them, see emit.';
comment on column pgsched.durable_events.id is 'Given by the database; of events of one name the lowest is consumed first.';
comment on column pgsched.durable_events.task_id is 'The task that it was sent to.';
comment on column pgsched.durable_events.tick_number is
  'The tick that was under way, or was the next one: an event that no wait has consumed is not left to another tick.';
comment on column pgsched.durable_events.name is 'What the task waits for.';
comment on column pgsched.durable_events.payload is 'What the wait returns: any JSON value.';
comment on column pgsched.durable_events.key is 'A second event of the same task, tick, name and key is not stored. Null: every one is.';
comment on column pgsched.durable_events.sent_by is 'The database role that sent it.';
comment on column pgsched.durable_events.sent_at is 'When it was sent.';
comment on column pgsched.durable_events.consumed_at is 'When a wait took it. Null: none has.';
comment on column pgsched.durable_events.sent_in is
  'The transaction that sent it. Those that send several events lock their tasks in the order of the ids.';
create index durable_events_mailbox on pgsched.durable_events (task_id, name, id) where consumed_at is null;
comment on index pgsched.durable_events_mailbox is 'What waits in the mailbox of a task.';
create index durable_events_task on pgsched.durable_events (task_id, id);
comment on index pgsched.durable_events_task is 'All events of a task.';
create unique index event_key_must_be_unique on pgsched.durable_events (task_id, tick_number, name, key) where key is not null;
comment on index pgsched.event_key_must_be_unique is 'Of events with one key the first is kept.';
create index durable_events_time on pgsched.durable_events using brin (sent_at);
comment on index pgsched.durable_events_time is 'Events by time: a summary of block ranges.';

create view pgsched.visible_durable_runs with (security_barrier = true) as
select r.* from pgsched.durable_runs r
where has_table_privilege('pgsched.durable_runs', 'select')
  or exists (select from pgsched.visible_tasks t where t.id = r.task_id);
comment on view pgsched.visible_durable_runs is
  'The durable runs of the tasks in visible_tasks; all of them for roles that may read pgsched.durable_runs.';
create view pgsched.visible_durable_steps with (security_barrier = true) as
select s.* from pgsched.durable_steps s
where has_table_privilege('pgsched.durable_steps', 'select')
  or exists (select from pgsched.visible_tasks t where t.id = s.task_id)
  or exists (select from pgsched.departed_tasks t where t.id = s.task_id);
comment on view pgsched.visible_durable_steps is
  'The recorded steps of the tasks in visible_tasks; all of them for roles that may read pgsched.durable_steps.';
create view pgsched.visible_durable_events with (security_barrier = true) as
select e.* from pgsched.durable_events e
where has_table_privilege('pgsched.durable_events', 'select')
  or exists (select from pgsched.visible_tasks t where t.id = e.task_id)
  or exists (select from pgsched.departed_tasks t where t.id = e.task_id);
comment on view pgsched.visible_durable_events is
  'The events that were sent to the tasks in visible_tasks; all of them for roles that may read pgsched.durable_events.';
do $$
declare
  view text;
  column_name text;
  said text;
begin
  foreach view in array array['durable_runs', 'durable_steps', 'durable_events'] loop
    for column_name, said in
      select a.attname, col_description(a.attrelid, a.attnum) from pg_attribute a
      where a.attrelid = ('pgsched.' || view)::regclass and a.attnum > 0 and not a.attisdropped
    loop
      execute format('comment on column pgsched.%I.%I is %L', 'visible_' || view, column_name, said);
    end loop;
  end loop;
  execute 'grant select on pgsched.visible_durable_runs, pgsched.visible_durable_steps, pgsched.visible_durable_events to public';
end $$;

-- Events --------------------------------------------------------------------------------------------------------------

create function pgsched.emit(id bigint, name text, payload jsonb default null, key text default null) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The task is not locked here: whoever sends may do much else before it commits. deliver_event() looks for the wait then.
declare
  task record;
  sent bigint;
begin
  select t.status, t.execution_count into task from pgsched.tasks t where t.id = emit.id;
  if not found then
    perform pgsched.locked_task(emit.id);  -- raises, unless it has left
    raise object_not_in_prerequisite_state using
      message = format('task %s is over: no wait of it can take event %L', emit.id, left(name, 100));
  elsif task.status in ('completed', 'cancelled') then
    raise object_not_in_prerequisite_state using
      message = format('task %s is %s: no wait of it can take event %L', emit.id, task.status, left(name, 100));
  elsif name is null or name = '' or length(name) > 200 then
    raise invalid_parameter_value using
      message = format('event must have a name of 1 to 200 characters, got %s', coalesce(quote_literal(left(name, 100)), 'null'));
  elsif key = '' or length(key) > 500 then
    raise invalid_parameter_value using
      message = format('the key of an event must have 1 to 500 characters, got %L', left(key, 100));
  elsif octet_length(payload::text) > 1048576 then
    raise invalid_parameter_value using
      message = format('the payload of event %L must have at most 1 MiB, got %s bytes', name, octet_length(payload::text));
  end if;
  insert into pgsched.durable_events as e (task_id, tick_number, name, payload, key)
  values (emit.id, task.execution_count + 1, name, payload, key)
  on conflict do nothing
  returning e.id into sent;
  if sent is null then
    select e.id into sent from pgsched.durable_events e
    where e.task_id = emit.id and e.tick_number = task.execution_count + 1 and e.name = emit.name and e.key = emit.key;
  elsif coalesce(current_setting('pgsched.first_event', true), '') = '' then
    perform set_config('pgsched.first_event', sent::text, true);  -- see deliver_event()
  end if;
  return sent;
end $$;
comment on function pgsched.emit(bigint, text, jsonb, text) is
  'Sends an event to a durable task, in the transaction of the sender; returns the id of the event.
id: The task.
name: What the task waits for, or will wait for.
payload: What the wait returns: any JSON value.
key: A second event of the same name and key is not stored: the id of the first is returned.';

create function pgsched.emit(idempotency_key text, name text, payload jsonb default null, key text default null) returns bigint
language sql
set search_path = pg_catalog, pg_temp as $$
select pgsched.emit(pgsched.task_id(idempotency_key), name, payload, key)
$$;
comment on function pgsched.emit(text, text, jsonb, text) is
  'Sends an event to the durable task that has this idempotency_key; otherwise as with an id.
idempotency_key: The key of the task.
name: What the task waits for, or will wait for.
payload: What the wait returns: any JSON value.
key: A second event of the same name and key is not stored: the id of the first is returned.';

create function pgsched.resume_run(id bigint, reasons text[]) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The caller has locked the task.
begin
  update pgsched.durable_runs r set awaits = null, wakes_at = null
  where r.task_id = resume_run.id and r.awaits && reasons;
  if not found then
    return false;
  end if;
  update pgsched.tasks t set status = 'pending', next_run_at = clock_timestamp(), updated_at = now()
  where t.id = resume_run.id and t.status = 'blocked';
  return found;
end $$;
comment on function pgsched.resume_run is
  'For the schema: makes a blocked run due if it waits for one of these; its task is locked by the caller.';

create function pgsched.deliver_event() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- At the sender's commit. Whoever suspends the task looks into its mailbox while it has the row locked: either it sees this
-- event, or the lock here is granted after its commit, and the task is seen blocked. Two that send to the same tasks in another
-- order must not wait for each other: the first event of a transaction that comes here locks the tasks of all, by their ids.
declare
  status text;
  first text := current_setting('pgsched.first_event', true);
begin
  if first <> '' then
    perform set_config('pgsched.first_event', '', true);
    perform from pgsched.tasks t
    where t.id = any(array(
      select e.task_id from pgsched.durable_events e where e.id >= first::bigint and e.sent_in = pg_current_xact_id()))
    order by t.id
    for no key update;
  end if;
  select t.status into status from pgsched.tasks t where t.id = new.task_id for no key update;
  if status = 'blocked' then
    perform pgsched.resume_run(new.task_id, array['event:' || new.name]);
  elsif status = 'running' then
    perform pg_notify('pgsched_emitted', new.task_id::text);
  end if;
  return null;
end $$;
comment on function pgsched.deliver_event is 'For the schema: wakes the task that an event was sent to, if it waits for it.';
create constraint trigger deliver after insert on pgsched.durable_events deferrable initially deferred
  for each row execute function pgsched.deliver_event();

create function pgsched.wake_parent(child bigint, parent bigint) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The parent is locked whatever its status, unless it is over: it may be about to be claimed or suspended by a transaction that
-- does not see this end yet.
declare
  status text;
begin
  if not exists (select from pgsched.durable_runs r where r.task_id = parent) then
    return false;
  end if;
  select t.status into status from pgsched.tasks t
  where t.id = parent and t.status in ('pending', 'running', 'blocked')
  for no key update;
  if pgsched.resume_run(parent, array['child:' || child]) then
    return true;
  elsif status = 'running' then
    perform pg_notify('pgsched_emitted', parent::text);
  end if;
  return false;
end $$;
comment on function pgsched.wake_parent is 'For the schema: wakes a durable run if it waits for this child, which has ended.';

create function pgsched.wake_parents(ids bigint[]) returns integer
language sql
set search_path = pg_catalog, pg_temp as $$
select count(*) filter (where pgsched.wake_parent(c.id, c.parent_id))::integer
from (
  select c.id, c.parent_id from pgsched.tasks c
  where c.id = any(wake_parents.ids) and c.parent_id is not null and c.status in ('completed', 'dead', 'cancelled')
  order by c.parent_id, c.id
  offset 0
) c
$$;
comment on function pgsched.wake_parents is
  'For workers: wakes the durable runs that wait for these tasks, which have ended; returns how many.';

create function pgsched.recheck_runs(ids bigint[]) returns integer
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- In the transaction that has suspended these runs, after it: what has come before the rows were locked is seen now.
declare
  run pgsched.durable_runs;
  woken integer := 0;
begin
  for run in
    select * from pgsched.durable_runs r where r.task_id = any(ids) and r.awaits is not null order by r.task_id
  loop
    if exists (
        select from pgsched.durable_events e
        where e.task_id = run.task_id and e.tick_number = run.tick_number and e.consumed_at is null
          and 'event:' || e.name = any(run.awaits))
      or exists (
        select from unnest(run.awaits) a
        left join pgsched.tasks c on c.id = substr(a, 7)::bigint
        where a like 'child:%' and (c.id is null or c.status in ('completed', 'dead', 'cancelled')))
    then
      woken := woken + pgsched.resume_run(run.task_id, run.awaits)::integer;
    end if;
  end loop;
  return woken;
end $$;
comment on function pgsched.recheck_runs is
  'For workers: wakes those of these runs, suspended in this transaction, for which something has come meanwhile.';

create function pgsched.wake_suspended(most integer default 1000) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- What somebody has locked is being woken, cancelled or edited, and comes the next time.
declare
  run record;
  woken integer := 0;
begin
  for run in
    select t.id, t.status
    from pgsched.durable_runs r join pgsched.tasks t on t.id = r.task_id
    where r.wakes_at <= now()
    order by r.wakes_at limit most
    for no key update of t skip locked
  loop
    update pgsched.durable_runs r set awaits = null, wakes_at = null
    where r.task_id = run.id and r.wakes_at <= now();
    if found then
      update pgsched.tasks t set status = 'pending', next_run_at = clock_timestamp(), updated_at = now()
      where t.id = run.id and t.status = 'blocked';
      woken := woken + found::integer;
    end if;
  end loop;
  delete from pgsched.durable_runs r
  where r.wakes_at <= now() and not exists (select from pgsched.tasks t where t.id = r.task_id);
  return woken;
end $$;
comment on function pgsched.wake_suspended is
  'For workers: makes those suspended runs due of which a wait has timed out, or a sleep is over; returns how many.
most: At most so many.';

create function pgsched.start_child(
  worker uuid, id bigint, token bigint, step jsonb, task jsonb
) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The child and the step that waits for it come together, behind the fence of the claim.
declare
  child bigint;
  began constant timestamptz := step ->> 'began_at';
begin
  perform from pgsched.tasks t
  where t.id = start_child.id and t.fencing_token = token and t.locked_by = worker and t.status = 'running'
  for share;
  if not found then
    return null;
  end if;
  select s.child_id into child from pgsched.durable_steps s
  where s.task_id = start_child.id and s.began_at = began and s.name = step ->> 'name' and s.key = step ->> 'key'
    and s.status = 'waiting';
  if child is not null then
    return child;
  end if;
  child := (pgsched.schedule_by_key(task, 'return')).id;
  update pgsched.tasks t set observed = true, parent_id = start_child.id where t.id = child;
  insert into pgsched.durable_runs as r (task_id, tick_number, began_at, code_version)
  values (start_child.id, (step ->> 'tick_number')::integer, began, step ->> 'code_version')
  on conflict (task_id) do update
  set tick_number = excluded.tick_number, began_at = excluded.began_at, code_version = excluded.code_version,
    awaits = null, wakes_at = null, unasked = null
  where r.began_at <> excluded.began_at;
  insert into pgsched.durable_steps (
    task_id, began_at, tick_number, name, key, kind, status, child_id, cancels_child, started_at, fencing_token)
  values (start_child.id, began, (step ->> 'tick_number')::integer, step ->> 'name', step ->> 'key', 'child', 'waiting', child,
    (step ->> 'cancels_child')::boolean, clock_timestamp(), token)
  on conflict (task_id, began_at, name, key) do update  -- the one before failed, and with it the attempt
  set status = 'waiting', child_id = excluded.child_id, cancels_child = excluded.cancels_child, error = null,
    finished_at = null, fencing_token = excluded.fencing_token;
  return child;
end $$;
comment on function pgsched.start_child is
  'For workers: makes the child that a durable run waits for, and records it; null when the claim was lost.';

create function pgsched.children_of(id bigint) returns setof bigint
language sql stable
set search_path = pg_catalog, pg_temp as $$
select unnest(t.fired) from pgsched.tasks t where t.id = children_of.id
union
select s.child_id
from pgsched.durable_runs r
join pgsched.durable_steps s on s.task_id = r.task_id and s.began_at = r.began_at
where r.task_id = children_of.id and s.status = 'waiting' and s.cancels_child and s.child_id is not null
$$;
comment on function pgsched.children_of is 'For the schema: the children that are cancelled with a task: steps of a group, children of a durable run.';

create function pgsched.lock_below(id bigint) returns void
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The deepest first, as their finishes lock their parents after themselves.
begin
  perform from pgsched.tasks t
  join (
    with recursive below as (
      select c as id, 1 as depth from pgsched.children_of(lock_below.id) c
      union all
      select c, b.depth + 1 from below b cross join lateral pgsched.children_of(b.id) c where b.depth < 100
    )
    select b.id, max(b.depth) as depth from below b group by b.id
  ) b on b.id = t.id
  order by b.depth desc, t.id
  for no key update of t;
end $$;
comment on function pgsched.lock_below is 'For the schema: locks the children that are cancelled with a task, and theirs.';

create function pgsched.restart(id bigint, from_step text default null, from_key text default '') returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  task pgsched.tasks;
  run pgsched.durable_runs;
  since timestamptz;
  child bigint;
begin
  -- Children, and the steps of its group, first, as their finishes and cancel() lock them.
  perform pgsched.lock_below(restart.id);
  perform pgsched.lock_steps(array[restart.id]);
  task := pgsched.locked_task(restart.id);
  if task.status not in ('dead', 'cancelled', 'pending', 'blocked') then
    raise object_not_in_prerequisite_state using
      message = format('task %s is %s and cannot be restarted', task.id, task.status),
      hint = case when task.status = 'completed' then 'run_now makes another run of it.' else 'Cancel it first.' end;
  end if;
  select * into run from pgsched.durable_runs r where r.task_id = task.id;
  if not found then
    raise object_not_in_prerequisite_state using
      message = format('task %s has recorded no step: there is nothing to restart', task.id);
  end if;
  if from_step is not null then
    select s.started_at into since from pgsched.durable_steps s
    where s.task_id = task.id and s.began_at = run.began_at and s.name = from_step and s.key = from_key;
    if not found then
      raise no_data_found using message = format('task %s has recorded no step %L%s', task.id, left(from_step, 100),
        case when from_key = '' then '' else format(' with the key %L', left(from_key, 100)) end);
    end if;
  end if;
  for child in
    select s.child_id from pgsched.durable_steps s join pgsched.tasks c on c.id = s.child_id
    where s.task_id = task.id and s.began_at = run.began_at and (since is null or s.started_at >= since)
      and s.status = 'waiting' and s.cancels_child and c.status in ('pending', 'blocked', 'running')
  loop
    perform pgsched.cancel(child);
  end loop;
  if since is null then
    delete from pgsched.durable_runs r where r.task_id = task.id;
  else
    delete from pgsched.durable_steps s
    where s.task_id = task.id and s.began_at = run.began_at and s.started_at >= since;
    update pgsched.durable_runs r set awaits = null, wakes_at = null, unasked = null where r.task_id = task.id;
  end if;
  update pgsched.tasks t
  set status = 'pending', attempts = 0, died_at = null, completed_at = null, updated_at = now(), enabled = true,
    next_run_at = clock_timestamp(), waiting_for = 0,
    planned_from = case when t.schedule_type = 'one_time' or task.status in ('pending', 'blocked') then t.planned_from
      else clock_timestamp() end  -- as in retry()
  where t.id = task.id;
  perform pgsched.rejoin(task.id);
end $$;
comment on function pgsched.restart is
  'Runs a durable task afresh, or from one of its steps on: what was recorded before is kept, what came later is forgotten. Children that it waits for are cancelled as by a cancel; events that were consumed stay consumed.
id: The task; it must not run.
from_step: The name of the step that runs again; null: all do.
from_key: The key of that step.';

create function pgsched.move_steps(id bigint, tick integer) returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The dead letter of a tick goes on with what the tick has recorded, should it be retried.
declare
  child bigint;
begin
  select t.id into child from pgsched.tasks t
  where t.parent_id = move_steps.id and t.status = 'dead' and t.execution_count = tick - 1
  order by t.id desc limit 1;
  if child is not null then
    update pgsched.durable_steps s set task_id = child
    from pgsched.durable_runs r
    where r.task_id = move_steps.id and r.tick_number = tick and s.task_id = r.task_id and s.began_at = r.began_at;
    update pgsched.durable_events e set task_id = child where e.task_id = move_steps.id and e.tick_number = tick;
    update pgsched.durable_runs r set task_id = child, awaits = null, wakes_at = null
    where r.task_id = move_steps.id and r.tick_number = tick;
  end if;
  return child;
end $$;
comment on function pgsched.move_steps is
  'For workers: gives the dead letter of a tick what the run of that tick has recorded; returns its id.';

-- Children -------------------------------------------------------------------------------------------------------------

create or replace function pgsched.cancel(id bigint) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  task pgsched.tasks;
  children bigint[];
  child bigint;
begin
  -- The unfinished children of a group or a durable run first, and all of them locked before it, as their finishes do it.
  select nullif(array(select pgsched.children_of(t.id)), '{}') into children from pgsched.tasks t
  where t.id = cancel.id and t.status in ('pending', 'blocked', 'running');
  if children is not null then
    perform pgsched.lock_below(cancel.id);
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
    fencing_token = greatest(nextval('pgsched.fencing_tokens'), t.fencing_token + 1), waiting_for = 0, updated_at = now()
  where t.id = task.id;
  delete from pgsched.dependencies d where d.task_id = task.id;
  -- A child that was made while the task was waited for; now none can be.
  for child in
    select c from pgsched.children_of(task.id) c join pgsched.tasks t on t.id = c
    where c <> all(coalesce(children, '{}')) and t.status in ('pending', 'blocked', 'running')
  loop
    perform pgsched.cancel(child);
  end loop;
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

create or replace function pgsched.forget_dependencies() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- A deleted row waits for nothing, and who waits for it is told.
begin
  delete from pgsched.dependencies d where d.task_id = old.id;
  if old.observed then
    perform pgsched.settle(array[old.id]);
    if old.parent_id is not null then  -- its row is gone: who looked for it would not find whose child it was
      perform pgsched.wake_parent(old.id, old.parent_id);
    end if;
  end if;
  return null;
end $$;

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
    moved_rows := moved_rows + pgsched.wake_parents(ended);
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

create or replace function pgsched.status(id bigint) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  found_task jsonb;
begin
  select jsonb_build_object(
    'id', t.id, 'task_type', t.task_type, 'task_name', t.task_name, 'queue', t.queue, 'status', t.status,
    'enabled', t.enabled, 'attempts', t.attempts, 'max_attempts', t.max_attempts, 'next_run_at', t.next_run_at,
    'started_at', case when t.status = 'running' then t.started_at end,
    'worker', case when t.status = 'running' then t.locked_by end, 'completed_at', t.completed_at, 'died_at', t.died_at,
    'progress', t.progress, 'result', t.result, 'last_error', t.last_error, 'awaits', r.awaits, 'wakes_at', r.wakes_at)
  into found_task
  from pgsched.known_tasks t
  left join pgsched.visible_durable_runs r on r.task_id = status.id and t.status = 'blocked'
  where t.id = status.id limit 1;
  if found_task is null then
    raise no_data_found using message = format('task %s does not exist', id);
  end if;
  return found_task;
end $$;
comment on function pgsched.status is
  'How a task is: status, attempts, next run, progress, result, error, and what a durable one waits for. Of tasks that the caller may see.';

-- The register --------------------------------------------------------------------------------------------------------

alter table pgsched.handlers add column durable boolean not null default false;
comment on column pgsched.handlers.durable is 'True: its runs record their steps, and tasks of the type take events.';

create or replace function pgsched.register(handlers jsonb) returns text[]
language plpgsql security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_variable
-- Each is an object with task_type, and what it says of defaults, payload_schema, result_schema, description, version,
-- strict and durable, which stays as it was where it is not said: older programs do not know it. newest is said by deployments.
-- In the order of the types, so that workers that start together cannot deadlock.
declare
  entry jsonb;
  wanted jsonb;
  written text[] := '{}';
begin
  for entry in select g.value from jsonb_array_elements(handlers) g order by g.value ->> 'task_type' loop
    wanted := jsonb_build_object(
      'payload_schema', entry -> 'payload_schema', 'result_schema', entry -> 'result_schema',
      'description', entry -> 'description', 'version', entry -> 'version',
      'strict', coalesce(entry -> 'strict', 'false'), 'retired_at', null,
      'defaults', jsonb_populate_record(null::pgsched.task_defaults, coalesce(nullif(entry -> 'defaults', 'null'), '{}')));
    update pgsched.handlers h set seen_at = now()
    where h.task_type = entry ->> 'task_type' and h.seen_at < now() - interval '1 hour';
    continue when exists (
      select from pgsched.handlers h left join pgsched.task_defaults d on d.kind = 'handler' and d.name = h.task_type
      where h.task_type = entry ->> 'task_type' and jsonb_strip_nulls(jsonb_build_object(
          'payload_schema', h.payload_schema, 'result_schema', h.result_schema, 'description', h.description,
          'version', h.version, 'strict', h.strict, 'retired_at', h.retired_at,
          'defaults', coalesce(to_jsonb(d), '{}') - array['kind', 'name']))
        = jsonb_strip_nulls(wanted)
        and h.durable = coalesce((entry ->> 'durable')::boolean, h.durable)
        and (not coalesce((entry ->> 'newest')::boolean, false)
          or h.versions -> -1 ->> 'code' = pgsched.code_of(entry ->> 'version', entry -> 'payload_schema')));
    insert into pgsched.handlers as h (task_type, payload_schema, result_schema, description, version, strict, durable, versions)
    values (
      entry ->> 'task_type', nullif(entry -> 'payload_schema', 'null'), nullif(entry -> 'result_schema', 'null'),
      entry ->> 'description', entry ->> 'version', (wanted ->> 'strict')::boolean,
      coalesce((entry ->> 'durable')::boolean, false),
      pgsched.with_version('[]', entry ->> 'version', entry -> 'payload_schema', true))
    on conflict (task_type) do update
    set (payload_schema, result_schema, description, version, strict, durable, registered_at, seen_at, retired_at, versions) = (
      excluded.payload_schema, excluded.result_schema, excluded.description, excluded.version, excluded.strict,
      coalesce((entry ->> 'durable')::boolean, h.durable), now(), now(), null::timestamptz, pgsched.with_version(
        h.versions, excluded.version, excluded.payload_schema, coalesce((entry ->> 'newest')::boolean, false)));
    perform pgsched.set_defaults('handler', entry ->> 'task_type', entry -> 'defaults');
    written := written || (entry ->> 'task_type');
  end loop;
  return written;
end $$;

-- Retention ------------------------------------------------------------------------------------------------------------

create or replace function pgsched.history_days(
  ended_before timestamptz
) returns table (parent text, part text, begins timestamptz, ends timestamptz, bytes bigint)
language sql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO, MDY'
  set standard_conforming_strings = 'on' as $$
-- The partitions of the history whose time was over by then, the oldest first. Their bounds are text: written and read in UTC.
select d.parent, d.part, d.bounds[1]::timestamptz, d.bounds[2]::timestamptz, pg_total_relation_size(d.id)
from (
  select i.inhrelid as id, p.relname::text as parent, c.relname::text as part,
    regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''([^'']+)''\) TO \(''([^'']+)''\)') as bounds
  from pg_inherits i
  join pg_class c on c.oid = i.inhrelid
  join pg_class p on p.oid = i.inhparent
  where p.relnamespace = 'pgsched'::regnamespace and p.relname in ('executions', 'execution_logs', 'missed_ticks', 'durable_steps')
) d
where d.bounds is not null and d.bounds[2]::timestamptz <= ended_before
order by d.bounds[2]::timestamptz, d.part
$$;

create or replace function pgsched.make_partitions(days_ahead integer default 7) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO, MDY'
  set standard_conforming_strings = 'on' as $$
-- Makes the partitions from today (UTC) to `days_ahead` days on. Built aside and attached, which unlike
-- CREATE TABLE ... PARTITION OF does not lock out readers and writers of the other partitions. Rows that an absent
-- partition sent to the default one are moved. Days are days of UTC, whatever the zone of the session; where partitions were
-- cut otherwise once, a day gets the time that they leave, and the default partition takes the rest.
#variable_conflict use_variable
declare
  parent text;
  by_column text;
  columns text;
  day timestamptz;
  part text;
  span record;
  made integer := 0;
begin
  perform pg_advisory_xact_lock(hashtext('pgsched.make_partitions'));
  foreach parent in array array['executions', 'execution_logs', 'missed_ticks', 'durable_steps'] loop
    by_column := case parent when 'executions' then 'started_at' when 'execution_logs' then 'logged_at'
      when 'missed_ticks' then 'noted_at' else 'began_at' end;
    for offset_days in 0..days_ahead loop
      day := date_trunc('day', now()) + offset_days * interval '1 day';
      part := parent || '_' || to_char(day, 'YYYYMMDD');
      continue when to_regclass('pgsched.' || part) is not null;
      select b.at as begins, least(day + interval '1 day', (
          select min(o.begins) from pgsched.history_days('infinity') o where o.parent = parent and o.begins >= b.at)) as ends
      into span
      from (
        select day as at
        union
        select o.ends from pgsched.history_days('infinity') o where o.parent = parent) b
      where b.at >= day and b.at < day + interval '1 day' and not exists (
        select from pgsched.history_days('infinity') o where o.parent = parent and o.begins <= b.at and o.ends > b.at)
      order by 2 desc, 1
      limit 1;
      continue when not found;
      begin
        execute format(
          'create table pgsched.%I (like pgsched.%I including defaults including constraints including generated)', part,
          parent);
        execute format('alter table pgsched.%I replica identity full', part);
        -- Named, for users may have added columns, to some in another order.
        select string_agg(quote_ident(a.attname), ', ' order by a.attnum) into columns
        from pg_attribute a
        where a.attrelid = ('pgsched.' || part)::regclass and a.attnum > 0 and not a.attisdropped and a.attgenerated = '';
        execute format(
          'with moved as (delete from pgsched.%I where %I >= %L and %I < %L returning %s) '
          'insert into pgsched.%I (%s) select %s from moved',
          parent || '_default', by_column, span.begins, by_column, span.ends, columns, part, columns, columns);
        execute format(
          'alter table pgsched.%I attach partition pgsched.%I for values from (%L) to (%L)', parent, part, span.begins,
          span.ends);
        made := made + 1;
      exception
        -- A partition of another kind is in the way, or a row came into the default one meanwhile: the next time.
        when invalid_object_definition or check_violation then null;
      end;
    end loop;
  end loop;
  return made;
end $$;

create or replace function pgsched.drop_history(part text, ended_before timestamptz) returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- Drops a partition of the history. It needs the table for itself for a moment, and whoever comes meanwhile waits behind it:
-- so it waits for a tenth of a second at the most, and then says false. So it does while something of the users' (a view, a
-- foreign key) depends on the partition.
declare
  day record;
begin
  select * into day from pgsched.history_days(ended_before) d where d.part = drop_history.part;
  if not found then
    raise invalid_parameter_value using
      message = format('%s is no partition of the history that was over at %s', part, ended_before);
  end if;
  perform set_config('lock_timeout', '100ms', true);
  execute format('lock table pgsched.%I in access exclusive mode', day.parent);
  if day.parent = 'durable_steps' then
    -- The steps of runs that are not over are needed: they go to the default partition.
    execute format('alter table pgsched.durable_steps detach partition pgsched.%I', day.part);
    execute format(
      'insert into pgsched.durable_steps select s.* from pgsched.%I s '
      'join pgsched.durable_runs r on r.task_id = s.task_id and r.began_at = s.began_at '
      'join pgsched.tasks t on t.id = s.task_id and t.completed_at is null', day.part);
  end if;
  execute format('drop table pgsched.%I', day.part);
  perform set_config('lock_timeout', '0', true);
  return true;
exception
  when lock_not_available or deadlock_detected or undefined_table or dependent_objects_still_exist then
    return false;
end $$;

create or replace function pgsched.prune_history(before timestamptz, most integer) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The history that no partition was made for in time: up to so many rows of the default partitions. And where workers ran that
-- were gone by then.
declare
  gone integer;
  number integer := 0;
begin
  delete from pgsched.executions_default where ctid = any(array(
    select ctid from pgsched.executions_default where started_at < before limit most));
  get diagnostics gone = row_count;
  number := number + gone;
  delete from pgsched.execution_logs_default where ctid = any(array(
    select ctid from pgsched.execution_logs_default where logged_at < before limit most));
  get diagnostics gone = row_count;
  number := number + gone;
  delete from pgsched.missed_ticks_default where ctid = any(array(
    select ctid from pgsched.missed_ticks_default where noted_at < before limit most));
  get diagnostics gone = row_count;
  number := number + gone;
  delete from pgsched.durable_steps_default where ctid = any(array(
    select s.ctid from pgsched.durable_steps_default s
    where s.began_at < before and not exists (
      select from pgsched.durable_runs r join pgsched.tasks t on t.id = r.task_id and t.completed_at is null
      where r.task_id = s.task_id and r.began_at = s.began_at)
    limit most));
  get diagnostics gone = row_count;
  number := number + gone;
  delete from pgsched.durable_events where ctid = any(array(
    select e.ctid from pgsched.durable_events e
    where e.sent_at < before
      and not exists (select from pgsched.tasks t where t.id = e.task_id and t.completed_at is null and t.execution_count < e.tick_number)
    limit most));
  get diagnostics gone = row_count;
  delete from pgsched.durable_runs where ctid = any(array(
    select r.ctid from pgsched.durable_runs r
    where r.began_at < before
      and not exists (select from pgsched.tasks t where t.id = r.task_id and (t.completed_at is null or t.status = 'cancelled'))
    limit most));
  update pgsched.worker_hosts h set last_seen = now()
  where h.last_seen < now() - interval '1 hour' and h.id in (select w.id from pgsched.workers w);
  delete from pgsched.worker_hosts h
  where h.last_seen < before and h.id not in (select w.id from pgsched.workers w);
  return number + gone;
end $$;

revoke execute on function pgsched.emit(bigint, text, jsonb, text), pgsched.emit(text, text, jsonb, text), pgsched.resume_run,
  pgsched.deliver_event, pgsched.wake_parent, pgsched.children_of, pgsched.lock_below, pgsched.wake_parents, pgsched.recheck_runs, pgsched.wake_suspended, pgsched.start_child, pgsched.restart,
  pgsched.move_steps from public;

select pgsched.make_partitions();
