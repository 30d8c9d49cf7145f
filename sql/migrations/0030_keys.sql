-- Works with programs of version 12 of the schema and later.
--
-- Tasks by their keys: one lookup for every face, and what becomes of the task that has a key already. And who runs or ran
-- an attempt: the machine and the process, also when the worker is long gone.

-- Evaluated for each row of the history, and empty but for tasks that had a key and have left pgsched.tasks.
create index if not exists executions_departed_key on pgsched.executions ((task ->> 'idempotency_key'))
  where (task ->> 'idempotency_key') is not null;
comment on index pgsched.executions_departed_key is 'The keys of tasks that have left pgsched.tasks.';

create view pgsched.departed_keys with (security_barrier) as
select e.task ->> 'idempotency_key' as idempotency_key, e.task_id as id
from pgsched.executions e
where (e.task ->> 'idempotency_key') is not null and (
  has_table_privilege('pgsched.tasks', 'select')
  or e.task ->> 'inserted_by' = session_user
  or exists (
    select from pgsched.tasks p
    where p.id = (e.task ->> 'parent_id')::bigint and p.inserted_by = session_user));
comment on view pgsched.departed_keys is
  'The keys of departed_tasks, to look one up by an index; of those that you may see only. A key may have left more than once.';
comment on column pgsched.departed_keys.idempotency_key is 'The key that the task had.';
comment on column pgsched.departed_keys.id is 'The task.';
grant select on pgsched.departed_keys to public;

create function pgsched.task_id(key text) returns bigint
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- With the rights of whoever asks: a task that he may not see is not there.
declare
  found_id bigint;
begin
  select t.id into found_id from pgsched.visible_tasks t where t.idempotency_key = key;
  if found_id is null then
    select max(d.id) into found_id from pgsched.departed_keys d where d.idempotency_key = key;
  end if;
  if found_id is null then
    raise no_data_found using message = format('a task with the key %L does not exist', key);
  end if;
  return found_id;
end $$;
comment on function pgsched.task_id is
  'The id of the task that has this idempotency_key, or had it when it left; of those that you may see. Raises no_data_found as the other functions do for an unknown id.';

create function pgsched.differing(task jsonb, present pgsched.tasks) returns text[]
language plpgsql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
#variable_conflict use_variable
-- What is not given is not compared: it may have come from a handler, or from an edit. A delay counts from each call, and each
-- call may be of another trace.
declare
  given constant jsonb := task - array['run_at', 'delay', 'idempotency_key'];
  has constant jsonb := to_jsonb(present);
  wanted constant jsonb := to_jsonb(jsonb_populate_record(present, given));
  traces constant text[] := array['traceparent', 'tracestate'];
  names text[] := '{}';
begin
  if wanted <> has then
    names := array(
      select k from jsonb_each(given) e(k, v)
      where v <> 'null' and case k
        when 'metadata' then (wanted -> k) - traces <> (has -> k) - traces
        else wanted -> k is distinct from has -> k end
      order by k);
  end if;
  if (task ->> 'run_at')::timestamptz <> coalesce(present.scheduled_for, '-infinity') then
    names := names || 'run_at'::text;
  end if;
  if present.schedule_type <> 'one_time' and task ->> 'cron_expression' is null and task ->> 'repeat_interval' is null then
    names := names || case present.schedule_type when 'recurring' then 'cron_expression' else 'repeat_interval' end;
  end if;
  return names;
end $$;
comment on function pgsched.differing is
  'For the schema: which of the arguments of schedule() that are given a task has otherwise; a delay is not compared.';

create function pgsched.schedule_by_key(
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
    select format('%s is no argument of pgsched.schedule', k) into problem from jsonb_object_keys(task) k
    where k <> all (array(select unnest(p.proargnames) from pg_proc p where p.oid = 'pgsched.schedule'::regproc)) limit 1;
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
    if on_conflict in ('update', 'replace') then
      -- Locked by whoever comes first; the next one finds what that made of it.
      select * into present from pgsched.tasks t where t.idempotency_key = key for no key update;
      exit when found and on_conflict = 'update';
      if found then
        perform pgsched.give_up_key(present, key);
        replaced := present.id;
      end if;
    end if;
    insert into pgsched.tasks as t (
      task_type, payload, scheduled_for, cron_expression, timezone, repeat_interval, repeat_count, start_date, end_date,
      queue, priority, idempotency_key, task_name, tags, metadata, tenant_id, user_id, created_by, max_attempts,
      backoff, backoff_delay, backoff_max, timeout, on_missed, catchup_window, overlap, jitter, enabled, parent_id,
      depends_on, dependency_mode, on_dependency_dead, concurrency_key, backoff_factor, backoff_jitter,
      alert_if_no_success_for, alert_if_running_for)
    select
      r.task_type, coalesce(r.payload, '{}'), r.scheduled_for, r.cron_expression, r.timezone, r.repeat_interval,
      r.repeat_count, r.start_date, r.end_date, r.queue, r.priority, r.idempotency_key, r.task_name, r.tags, r.metadata,
      r.tenant_id, r.user_id, r.created_by, r.max_attempts, r.backoff, r.backoff_delay, r.backoff_max, r.timeout,
      r.on_missed, r.catchup_window, r.overlap, r.jitter, coalesce(r.enabled, true), r.parent_id,
      coalesce(r.depends_on, '{}'), r.dependency_mode, r.on_dependency_dead, r.concurrency_key, r.backoff_factor,
      r.backoff_jitter, r.alert_if_no_success_for, r.alert_if_running_for
    from jsonb_populate_record(null::pgsched.tasks, given) r
    on conflict (idempotency_key) where idempotency_key is not null do nothing
    returning t.id into id;
    if id is not null then
      outcome := case when replaced is null then 'created' else 'replaced' end;
      if replaced is not null and present.status in ('pending', 'blocked') then
        update pgsched.tasks t set last_error = format('replaced by task %s', schedule_by_key.id) where t.id = replaced;
      end if;
      return;
    end if;
    if on_conflict not in ('update', 'replace') then
      select * into present from pgsched.tasks t where t.idempotency_key = key;
      exit when found;
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
comment on function pgsched.schedule_by_key is
  'Inserts a task, unless one has its idempotency_key: then on_conflict says what becomes of that. return (keep): it stays, and differs names what it has otherwise than given; update: it is changed to what is given; replace: it is cancelled if it is not over, gives up the key, and the new one is inserted; refused while it runs; raise: unique_violation. The keys of the object are the arguments of schedule(); times without an offset are UTC. outcome: created, existing, updated, unchanged or replaced.';

create function pgsched.give_up_key(present pgsched.tasks, key text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The row is locked. It stays, and so does all that is known of it: only its key is free.
begin
  if present.inserted_by is distinct from session_user and not has_any_column_privilege(session_user, 'pgsched.tasks', 'update') then
    raise insufficient_privilege using
      message = format('task %s has the idempotency_key %s, and was inserted by another role', present.id, key);
  elsif present.status = 'running' or present.status = 'blocked' and present.fired is not null then
    raise object_not_in_prerequisite_state using
      message = format('task %s has the idempotency_key %s, and is running: it cannot be replaced', present.id, key);
  end if;
  if present.status in ('pending', 'blocked') then
    perform pgsched.cancel(present.id);
  end if;
  update pgsched.tasks t set idempotency_key = null where t.id = present.id;
end $$;
comment on function pgsched.give_up_key is
  'For the schema: takes its key from a task that is to be replaced, and cancels it if it is not over.';
revoke execute on function pgsched.schedule_by_key, pgsched.give_up_key, pgsched.differing from public;

-- Whoever schedules.
do $$
declare
  one record;
begin
  for one in
    select distinct case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end as grantee
    from pg_proc p
    cross join lateral aclexplode(p.proacl) a
    where p.oid = 'pgsched.schedule'::regproc and a.privilege_type = 'EXECUTE' and a.grantee <> p.proowner
  loop
    execute format('grant execute on function pgsched.schedule_by_key to %s', one.grantee);
  end loop;
end $$;

create or replace function pgsched.upsert(task jsonb, out id bigint, out outcome text) returns record
language sql security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
  select s.id, s.outcome from pgsched.schedule_by_key(task, 'update') s
$$;

-- A row a start of a worker, instead of a column of the history, which would be written with every attempt.
create table pgsched.worker_hosts (
  id uuid primary key,
  hostname text not null,
  pid integer not null,
  started_at timestamptz not null,
  last_seen timestamptz not null default now()
);
comment on table pgsched.worker_hosts is
  'Where each worker ran, kept as long as the history: pgsched.workers has those that are there alone. Written when a worker starts and when it is gone.';
comment on column pgsched.worker_hosts.id is 'The worker: worker_id of the history, locked_by of tasks.';
comment on column pgsched.worker_hosts.hostname is 'The machine.';
comment on column pgsched.worker_hosts.pid is 'The process on it.';
comment on column pgsched.worker_hosts.started_at is 'When it started.';
comment on column pgsched.worker_hosts.last_seen is
  'When it was last known to be there: at its end, else when the history was last pruned.';
comment on constraint worker_hosts_pkey on pgsched.worker_hosts is 'One row a worker.';

create function pgsched.note_worker() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- By a trigger, so that workers of earlier releases are noted, too. A heartbeat is an UPDATE, and fires it not.
begin
  if tg_op = 'DELETE' then
    update pgsched.worker_hosts h set last_seen = now() where h.id = old.id;
  else
    insert into pgsched.worker_hosts as h (id, hostname, pid, started_at)
    values (new.id, new.hostname, new.pid, new.started_at)
    on conflict (id) do update set last_seen = now();
  end if;
  return null;
end $$;
comment on function pgsched.note_worker is 'For the schema: keeps where a worker runs beyond its end.';
revoke execute on function pgsched.note_worker from public;
create trigger note_worker after insert or delete on pgsched.workers
  for each row execute function pgsched.note_worker();
comment on trigger note_worker on pgsched.workers is 'Keeps where a worker runs beyond its end.';
insert into pgsched.worker_hosts (id, hostname, pid, started_at)
select w.id, w.hostname, w.pid, w.started_at from pgsched.workers w;

create view pgsched.visible_worker_hosts with (security_barrier) as
select h.id, h.hostname, h.pid, h.started_at, h.last_seen
from pgsched.worker_hosts h
where has_table_privilege('pgsched.worker_hosts', 'select');
comment on view pgsched.visible_worker_hosts is
  'worker_hosts for roles that may read it, and nothing for others: so everybody may ask for both at once.';
comment on column pgsched.visible_worker_hosts.id is 'The worker: worker_id of the history, locked_by of tasks.';
comment on column pgsched.visible_worker_hosts.hostname is 'The machine.';
comment on column pgsched.visible_worker_hosts.pid is 'The process on it.';
comment on column pgsched.visible_worker_hosts.started_at is 'When it started.';
comment on column pgsched.visible_worker_hosts.last_seen is
  'When it was last known to be there: at its end, else when the history was last pruned.';

create view pgsched.running_attempts with (security_barrier) as
select t.id as task_id, t.task_type, t.queue, t.attempts as attempt, t.fencing_token, t.scheduled_for,
  t.locked_by as worker_id, t.started_at, t.locked_until, h.hostname, h.pid
from pgsched.tasks t
left join pgsched.worker_hosts h on h.id = t.locked_by and has_table_privilege('pgsched.worker_hosts', 'select')
where t.status = 'running' and t.next_run_at is not null and t.started_at is not null
  and t.unbegun_token is distinct from t.fencing_token and (
  has_table_privilege('pgsched.tasks', 'select')
  or t.inserted_by = session_user
  or exists (select from pgsched.tasks p where p.id = t.parent_id and p.inserted_by = session_user));
comment on view pgsched.running_attempts is
  'The attempts under way: who makes them, and since when. Of visible_tasks only; of tasks that take a few milliseconds not all.';
comment on column pgsched.running_attempts.task_id is 'The task.';
comment on column pgsched.running_attempts.task_type is 'Its handler.';
comment on column pgsched.running_attempts.queue is 'Its queue.';
comment on column pgsched.running_attempts.attempt is 'Which attempt at the tick it is, from 1.';
comment on column pgsched.running_attempts.fencing_token is 'The token of the claim: with task_id it names the attempt.';
comment on column pgsched.running_attempts.scheduled_for is 'The tick that it is for.';
comment on column pgsched.running_attempts.worker_id is 'The worker that makes it.';
comment on column pgsched.running_attempts.started_at is 'Since when.';
comment on column pgsched.running_attempts.locked_until is
  'Until when the worker has it without another heartbeat. In the past: the worker is silent, and another one will take the task.';
comment on column pgsched.running_attempts.hostname is 'The machine; null for roles that may not read worker_hosts.';
comment on column pgsched.running_attempts.pid is 'The process on it.';
grant select on pgsched.visible_worker_hosts, pgsched.running_attempts to public;

-- Whoever reads the workers reads where they ran.
do $$
declare
  one record;
begin
  for one in
    select distinct case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end as grantee
    from pg_class c
    cross join lateral aclexplode(c.relacl) a
    where c.oid = 'pgsched.workers'::regclass and a.privilege_type = 'SELECT' and a.grantee <> c.relowner
  loop
    execute format('grant select on pgsched.worker_hosts to %s', one.grantee);
  end loop;
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
  update pgsched.worker_hosts h set last_seen = now()
  where h.last_seen < now() - interval '1 hour' and h.id in (select w.id from pgsched.workers w);
  delete from pgsched.worker_hosts h
  where h.last_seen < before and h.id not in (select w.id from pgsched.workers w);
  return number + gone;
end $$;
