-- Works with programs of version 12 of the schema and later.
--
-- A run by hand says who asked for it, and stands in the history of the task that it is a copy of.

-- More arguments make another function: whoever might call the old one may call it.
do $$
begin
  perform set_config('pgsched.rights', (
    select jsonb_object_agg(p.proname, coalesce(p.proacl::text, ''))::text
    from pg_proc p where p.oid in ('pgsched.run_now'::regproc, 'pgsched.change_tasks'::regproc)), true);
end $$;
drop function pgsched.run_now;
create function pgsched.run_now(id bigint, run_by text default null) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The key of a copy says what it is (see run_by); its id is drawn before, because it is part of the key.
declare
  task pgsched.tasks := pgsched.locked_task(run_now.id);
  copy bigint;
  child bigint;
begin
  if task.schedule_type = 'one_time' and task.status = 'running' then
    raise object_not_in_prerequisite_state using message = format('task %s is running already', task.id);
  end if;
  if task.schedule_type = 'one_time' and task.status = 'pending' then
    update pgsched.tasks t set next_run_at = least(t.next_run_at, now()), enabled = true where t.id = task.id;
    return task.id;
  end if;
  copy := nextval('pgsched.tasks_id_seq');
  insert into pgsched.tasks as t (
    id, task_type, task_name, queue, priority, payload, metadata, tags, tenant_id, user_id, created_by, timezone,
    max_attempts, backoff, backoff_delay, backoff_max, timeout, concurrency_key, parent_id, backoff_factor, backoff_jitter,
    on_missed, overlap, dependency_mode, on_dependency_dead, idempotency_key)  -- all that is to be said: it is complete
  values (
    copy, task.task_type, task.task_name, task.queue, task.priority, task.payload, task.metadata, task.tags, task.tenant_id,
    task.user_id, coalesce(nullif(run_by, ''), session_user), task.timezone, task.max_attempts, task.backoff,
    task.backoff_delay, task.backoff_max, task.timeout, task.concurrency_key, task.id, task.backoff_factor,
    task.backoff_jitter, 'once', 'skip', 'all', 'cancel', format('run:%s:%s', task.id, copy))
  returning t.id into child;
  if child is null then
    raise integrity_constraint_violation using
      message = 'the task was not inserted: a trigger or a row security policy on pgsched.tasks keeps it out';
  end if;
  return child;
end $$;
comment on function pgsched.run_now is
  'Makes a waiting one-time task due now; for any other runs a copy (a child with parent_id) and leaves the task as it is. Returns the id that runs.
id: The task.
run_by: Who asks for it: the created_by of the copy, and the run_by of its attempts in the history of the task. By default the database role.';

drop function pgsched.change_tasks;
create function pgsched.change_tasks(action text, ids bigint[], dry_run boolean, run_by text default null)
returns setof bigint
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  one bigint;
  task pgsched.tasks;
begin
  if not dry_run then
    perform from pgsched.tasks t where t.id = any(ids) order by t.id for no key update;
  end if;
  if action = 'delete' and not dry_run then
    return query
      select d.id from pgsched.delete_apart(
        ids, array['pending', 'blocked', 'completed', 'dead', 'cancelled']) d
      where d.refusal is null order by d.id;
    return;
  end if;
  for one in select t.id from pgsched.tasks t where t.id = any(ids) order by t.id loop
    -- Read again: it may have gone, or been cancelled, with another one.
    select * into task from pgsched.tasks t where t.id = one;
    continue when not found or not pgsched.may_change(action, task);
    if not dry_run then
      case action
        when 'enable' then perform pgsched.enable(one);
        when 'disable' then perform pgsched.disable(one);
        when 'run' then perform pgsched.run_now(one, run_by);
        when 'cancel' then perform pgsched.cancel(one);
        when 'retry' then perform pgsched.retry(one);
      end case;
    end if;
    return next one;
  end loop;
end $$;
comment on function pgsched.change_tasks is
  'Does one thing to each of these tasks that it suits, in one transaction; returns the ids of those that were changed.
action: enable, disable, run, cancel, retry or delete.
ids: The tasks.
dry_run: True: changes nothing and only returns which it would be.
run_by: Who asks for the runs, as of run_now.';

do $$
declare
  name text;
  rights text;
  one record;
begin
  for name, rights in select r.key, r.value from jsonb_each_text(current_setting('pgsched.rights')::jsonb) r loop
    continue when rights = '';
    execute format('revoke execute on function pgsched.%I from public', name);
    for one in
      select case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end as grantee, a.is_grantable
      from aclexplode(rights::aclitem[]) a
    loop
      execute format('grant execute on function pgsched.%I to %s%s', name, one.grantee,
        case when one.is_grantable then ' with grant option' end);
    end loop;
  end loop;
end $$;

create function pgsched.run_by(parent_id bigint, idempotency_key text, created_by text) returns text
language sql immutable as $$
select case when idempotency_key like 'run:' || parent_id || ':%' then created_by end
$$;
comment on function pgsched.run_by is
  'Who ran a task by hand, from these columns of it: the created_by of a copy that run_now has made; null for any other task.';

create function pgsched.history(id bigint, max_rows integer default 100)
returns table (
  task_id bigint, run_by text, attempt integer, status text, scheduled_for timestamptz, started_at timestamptz,
  finished_at timestamptz, duration_ms double precision, result jsonb, error text, worker_id uuid, fencing_token bigint)
language sql stable
set search_path = pg_catalog, pg_temp as $$
-- Its own attempts, and of its children those that run its ticks and those that somebody ran by hand.
with run as (
  select history.id as task_id, (
    select pgsched.run_by(t.parent_id, t.idempotency_key, t.created_by) from pgsched.visible_tasks t
    where t.id = history.id) as run_by
  union all
  select c.id, pgsched.run_by(c.parent_id, c.idempotency_key, c.created_by)
  from pgsched.visible_tasks c
  where c.parent_id = history.id
    and (c.idempotency_key like 'tick:%' or c.idempotency_key like 'run:' || history.id || ':%')
)
select *
from (
  select r.task_id, run.run_by, r.attempt::integer, 'running', r.scheduled_for::timestamptz, r.started_at, null::timestamptz,
    null::double precision, null::jsonb, null::text, r.worker_id, r.fencing_token
  from run join pgsched.running_attempts r on r.task_id = run.task_id
  union all
  select e.task_id, run.run_by, e.attempt, case when e.status = 'cancelled' and e.attempt = 0 then 'snoozed' else e.status end,
    e.scheduled_for, e.started_at, e.finished_at, e.duration_ms, e.result, e.error, e.worker_id, e.fencing_token
  from run join pgsched.visible_executions e on e.task_id = run.task_id
) as of_all (
  task_id, run_by, attempt, status, scheduled_for, started_at, finished_at, duration_ms, result, error, worker_id,
  fencing_token)
order by of_all.started_at desc, of_all.fencing_token desc
limit max_rows
$$;
comment on function pgsched.history is
  'The attempts at a task, the latest first, with the one under way; of a schedule also those of the children that run its ticks, and those that somebody ran by hand (run_by). Of tasks that the caller may see.
id: The task.
max_rows: At most so many.';
