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
    if action = 'retry' then
      perform pgsched.lock_steps(ids);
    end if;
    perform from pgsched.tasks t where t.id = any(ids) order by t.id for no key update;
  end if;
  if action = 'delete' and not dry_run then
    return query
      select d.id from pgsched.delete_apart(
        ids, array['pending', 'blocked', 'completed', 'dead', 'cancelled']) d
      where d.refusal is null order by d.id;
    return;
  end if;
  for one in
    select t.id from pgsched.tasks t cross join lateral (select action = 'retry' and t.task_type = 'pgsched.group' as late) l
    where t.id = any(ids)
    -- A retry of a step continues its group, which is not to be retried as a whole then.
    order by l.late, case when l.late then -t.id else t.id end
  loop
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

-- The retry of a step continues its group.

create function pgsched.lock_steps(ids bigint[]) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The steps of the groups that these tasks are steps of, and then the groups: as finishes and cancels lock them. A group may be
-- the step of another one.
declare
  steps bigint[];
  groups bigint[] := ids;
begin
  loop
    select array_agg(distinct g.id), array_agg(distinct f) into groups, steps
    from pgsched.tasks t
    join pgsched.tasks g on g.id = t.parent_id and g.task_type = 'pgsched.group' and t.id = any(g.fired)
    cross join unnest(g.fired) f
    where t.id = any(groups);
    exit when groups is null;
    perform from pgsched.tasks t where t.id = any(steps) order by t.id for no key update;
    perform from pgsched.tasks t where t.id = any(groups) order by t.id for no key update;
  end loop;
end $$;
revoke execute on function pgsched.lock_steps from public;
comment on function pgsched.lock_steps is
  'For the schema: locks what a retry of these tasks may change, where they are steps of groups, in the order in which finishes lock it.';

create function pgsched.rejoin(id bigint) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- A step that runs again: its group waits for it again, and so do the steps that were cancelled because it had not been completed.
-- All of that is locked (lock_steps).
declare
  step bigint := id;
  group_row pgsched.tasks;
  again bigint[];
  behind bigint[];
begin
  loop
    select g.* into group_row
    from pgsched.tasks t
    join pgsched.tasks g on g.id = t.parent_id and g.task_type = 'pgsched.group' and t.id = any(g.fired)
    where t.id = step and (g.status in ('blocked', 'pending', 'running') or g.status = 'dead' and g.schedule_type = 'one_time');
    exit when not found;
    again := array[step];
    loop
      behind := array(
        select c.id from pgsched.tasks c
        where c.id = any(group_row.fired) and c.id <> all(again) and c.status = 'cancelled' and c.depends_on && again
          and c.last_error like 'task %, which it depends on, is %'
          and (c.dependency_mode = 'any' or not exists (
            select from unnest(c.depends_on) u left join pgsched.tasks t on t.id = u
            where u <> all(again) and coalesce(t.status in ('dead', 'cancelled'), true))));
      exit when cardinality(behind) = 0;
      again := again || behind;
    end loop;
    insert into pgsched.dependencies (upstream_id, task_id)
    select distinct u, c.id
    from pgsched.tasks c cross join unnest(c.depends_on) u join pgsched.tasks t on t.id = u
    where c.id = any(again) and c.id <> step and (u = any(again) or t.status in ('pending', 'running', 'blocked'));
    update pgsched.tasks c
    set status = 'blocked', completed_at = null, last_error = null, updated_at = now(),
      waiting_for = (select count(*) from pgsched.dependencies d where d.task_id = c.id)
    where c.id = any(again) and c.id <> step;
    insert into pgsched.dependencies (upstream_id, task_id) select a, group_row.id from unnest(again) a on conflict do nothing;
    -- A worker that gathers the results just now is fenced.
    update pgsched.tasks g
    set status = 'blocked', next_run_at = null, died_at = null, locked_by = null, locked_until = null, updated_at = now(),
      attempts = 0, last_error = case when group_row.status = 'dead' then null else g.last_error end,
      fencing_token = case when group_row.status = 'running'
        then greatest(nextval('pgsched.fencing_tokens'), g.fencing_token + 1) else g.fencing_token end,
      waiting_for = (select count(*) from pgsched.dependencies d where d.task_id = g.id)
    where g.id = group_row.id;
    exit when group_row.status <> 'dead';
    step := group_row.id;
  end loop;
end $$;
revoke execute on function pgsched.rejoin from public;
comment on function pgsched.rejoin is
  'For the schema: lets the group of a step that was retried wait for it again, and with it the steps that were cancelled because of it.';

create or replace function pgsched.retry(id bigint) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  task pgsched.tasks;
begin
  perform pgsched.lock_steps(array[retry.id]);
  task := pgsched.locked_task(retry.id);
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
  perform pgsched.rejoin(task.id);
end $$;
