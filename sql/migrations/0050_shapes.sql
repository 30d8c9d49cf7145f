-- Works with programs of version 12 of the schema and later.
--
-- Odd shapes: tables whose rows are distributed as the planner does not expect, and groups of thousands of steps. Nothing
-- is changed for a task that nobody waits for.

create function pgsched.has_left(id bigint) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- A function of its own, so that the partitions of the history are planned where a row is missing, and not for each end and
-- each insert of a dependent.
begin
  return exists (select from pgsched.executions x where x.task_id = has_left.id and x.task is not null);
end $$;
comment on function pgsched.has_left is
  'For the schema: whether a completed task left its row on completion (retention 0) and is in the history only.';

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
          when pgsched.has_left(e.id) then 'completed'
          else 'deleted' end as status) u
      union all
      -- The tick of a schedule that may overlap itself ran in a child.
      select t.parent_id, 'completed', true
      from pgsched.tasks t
      where t.id = any(ended) and t.status = 'completed' and t.parent_id is not null and t.idempotency_key like 'tick:%'
    ),
    gone as (
      -- By index, whatever the statistics say: one task with 100,000 dependents would let the planner read all edges for each end.
      delete from pgsched.dependencies d
      using upstream u, pgsched.tasks t
      where d.upstream_id = any(array[u.id]) and t.id = any(array[d.task_id])
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
      -- What is new comes along with the row: a join of the two would compare each with each, as sessions of workers use no hash.
      select t.id, t.waiting_for, t.scheduled_for, t.dependency_mode,
        case when t.fired is null then t.on_dependency_dead else 'run' end as policy,
        n.some_good, n.bad_id, n.bad_status, t.waiting_for - n.settled as remaining
      from news n join pgsched.tasks t on t.id = any(array[n.task_id])
      where t.status = 'blocked'
      order by t.id
      for no key update of t
    ),
    judged as (
      select l.*,
        case
          when l.dependency_mode = 'each' then false
          when l.dependency_mode = 'any' then l.some_good or l.policy = 'run'
          else l.remaining <= 0 and (l.bad_id is null or l.policy = 'run') end as released,
        l.dependency_mode = 'each' or l.policy <> 'run' and l.bad_id is not null
          and (l.dependency_mode = 'all' or l.remaining <= 0 and not l.some_good) as cancelled
      from locked l
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
      where t.id = any(array[j.id])
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

create or replace function pgsched.check_dependencies(id bigint, upstream bigint[], made_by bigint default null) returns void
language plpgsql as $$
#variable_conflict use_variable
-- Refuses ids that are not there, and circles. `made_by`: the parent of a row that is being inserted.
declare
  unknown bigint;
begin
  perform from pgsched.tasks t
  where t.id = any(upstream) and t.xmin <> pg_current_xact_id()::xid
  order by t.id
  for key share;
  select u into unknown
  from unnest(upstream) u
  -- In this order: the planner would ask the function first.
  where case when exists (select from pgsched.tasks t where t.id = u) then false else not pgsched.has_left(u) end
  limit 1;
  if unknown is not null then
    raise invalid_parameter_value using message = format('depends_on: task %s does not exist', unknown),
      column = 'depends_on', table = 'tasks', schema = 'pgsched';
  end if;
  -- Nobody can wait for a row that was just made, except those made by the same statement, and the group that makes it.
  if check_dependencies.id = any(upstream) or exists (
    select from pgsched.dependencies d
    where d.upstream_id = check_dependencies.id and d.task_id is distinct from made_by) then
    if exists (
      with recursive above as (
        select u as id from unnest(upstream) u
        union
        select d.upstream_id from above join pgsched.dependencies d on d.task_id = above.id
      )
      select from above where above.id = check_dependencies.id
    ) then
      raise invalid_parameter_value using message = format('depends_on: task %s would wait for itself', check_dependencies.id),
        column = 'depends_on', table = 'tasks', schema = 'pgsched';
    end if;
  end if;
end $$;

create or replace function pgsched.lock_steps(ids bigint[]) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- The steps of the groups that these tasks are steps of, and then the groups: as finishes and cancels lock them. A group may be
-- the step of another one.
declare
  groups bigint[] := ids;
begin
  loop
    groups := array(
      select distinct g.id
      from pgsched.tasks t
      join pgsched.tasks g on g.id = t.parent_id and g.task_type = 'pgsched.group' and t.id = any(g.fired)
      where t.id = any(groups));
    exit when cardinality(groups) = 0;
    -- The steps of a group once, and not once for each of its steps that is asked for.
    perform from pgsched.tasks t
    where t.id = any(array(select unnest(g.fired) from pgsched.tasks g where g.id = any(groups)))
    order by t.id for no key update;
    perform from pgsched.tasks t where t.id = any(groups) order by t.id for no key update;
  end loop;
end $$;

create function pgsched.torn_groups(ids bigint[]) returns bigint[]
language sql stable security definer
set search_path = pg_catalog, pg_temp as $$
select array(
  select distinct c.parent_id
  from pgsched.tasks c
  where c.parent_id = any(array(
      select distinct t.parent_id from pgsched.tasks t where t.id = any(torn_groups.ids) and t.parent_id is not null))
    and c.status = 'cancelled' and c.last_error like 'task %, which it depends on, is %')
$$;
comment on function pgsched.torn_groups is
  'For the schema: the groups of these steps that have a step which was cancelled because of another one.';

drop function pgsched.rejoin(bigint);
create function pgsched.rejoin(id bigint, torn bigint[] default null) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- `torn`: the groups that have a step which was cancelled because of another one; null: it is not known.
-- A step that runs again: its group waits for it again, and so do the steps that were cancelled because it had not been completed.
-- All of that is locked (lock_steps).
declare
  step bigint := id;
  group_row pgsched.tasks;
  again bigint[];
  behind bigint[];
  added integer;
begin
  loop
    select g.* into group_row
    from pgsched.tasks t
    join pgsched.tasks g on g.id = t.parent_id and g.task_type = 'pgsched.group' and t.id = any(g.fired)
    where t.id = step and (g.status in ('blocked', 'pending', 'running') or g.status = 'dead' and g.schedule_type = 'one_time');
    exit when not found;
    again := array[step];
    -- Every step of the group is read here, so that a retry of many steps says which groups need it.
    while torn is null or step <> id or group_row.id = any(torn) loop
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
    get diagnostics added = row_count;
    -- A worker that gathers the results just now is fenced.
    update pgsched.tasks g
    set status = 'blocked', next_run_at = null, died_at = null, locked_by = null, locked_until = null, updated_at = now(),
      attempts = 0, last_error = case when group_row.status = 'dead' then null else g.last_error end,
      fencing_token = case when group_row.status = 'running'
        then greatest(nextval('pgsched.fencing_tokens'), g.fencing_token + 1) else g.fencing_token end,
      waiting_for = case when group_row.status = 'blocked' then g.waiting_for else 0 end + added
    where g.id = group_row.id;
    exit when group_row.status <> 'dead';
    step := group_row.id;
  end loop;
end $$;

create function pgsched.retry_locked(id bigint, payload jsonb, torn bigint[]) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- What lock_steps locks is locked. `torn`: as for rejoin.
declare
  task pgsched.tasks;
begin
  task := pgsched.locked_task(retry_locked.id);
  if task.status not in ('dead', 'cancelled') and not (task.status = 'pending' and task.attempts > 0) then
    raise object_not_in_prerequisite_state using
      message = format('task %s is %s and cannot be retried', task.id, task.status);
  elsif payload is not null and task.inserted_by is distinct from session_user
    and not has_any_column_privilege(session_user, 'pgsched.tasks', 'update') then
    raise insufficient_privilege using
      message = format('task %s was inserted by another role: its payload cannot be changed', task.id);
  end if;
  update pgsched.tasks t
  set status = case when t.dependency_mode = 'each' then 'blocked' else 'pending' end, attempts = 0, died_at = null,
    completed_at = null, updated_at = now(), enabled = true,
    next_run_at = case when t.dependency_mode <> 'each' then now() end, fired = null, payload = coalesce(retry_locked.payload, t.payload),
    -- A schedule that ended goes on from now; a one-time task keeps its nominal time.
    planned_from = case when t.schedule_type = 'one_time' or task.status = 'pending' then t.planned_from else clock_timestamp() end
  where t.id = task.id;
  if task.dependency_mode = 'each' then
    -- It follows its schedule again, from the next tick on.
    perform pgsched.check_dependencies(task.id, task.depends_on);
    insert into pgsched.dependencies (upstream_id, task_id) values (task.depends_on[1], task.id) on conflict do nothing;
    update pgsched.tasks t set waiting_for = 1 where t.id = task.id;
    update pgsched.tasks t set observed = true where t.id = task.depends_on[1] and not t.observed;
  end if;
  if task.parent_id is not null then
    perform pgsched.rejoin(task.id, torn);
  end if;
end $$;

create or replace function pgsched.retry(id bigint, payload jsonb default null) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
  perform pgsched.lock_steps(array[retry.id]);
  perform pgsched.retry_locked(retry.id, payload, null);
end $$;

create or replace function pgsched.change_tasks(
  action text, ids bigint[], dry_run boolean, run_by text default null
) returns setof bigint
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  one bigint;
  task pgsched.tasks;
  torn bigint[];
begin
  if not dry_run then
    if action = 'retry' then
      perform pgsched.lock_steps(ids);
    end if;
    perform from pgsched.tasks t where t.id = any(ids) order by t.id for no key update;
    if action = 'retry' then
      torn := pgsched.torn_groups(ids);
    end if;
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
        when 'retry' then perform pgsched.retry_locked(one, null, torn);
      end case;
    end if;
    return next one;
  end loop;
end $$;

comment on function pgsched.rejoin is
  'For the schema: lets the group of a step that was retried wait for it again, and with it the steps that were cancelled because of it.';
comment on function pgsched.retry_locked is
  'For the schema: as retry, of a task whose group and its steps are locked (lock_steps).';

revoke execute on function pgsched.has_left, pgsched.torn_groups, pgsched.rejoin, pgsched.retry_locked from public;
do $$
declare
  one record;
begin
  for one in
    select distinct case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end as grantee,
      case p.proname when 'settle' then 'has_left' else 'torn_groups, pgsched.retry_locked' end as functions
    from pg_proc p cross join aclexplode(p.proacl) a
    where p.oid in ('pgsched.settle'::regproc, 'pgsched.change_tasks'::regproc) and a.privilege_type = 'EXECUTE'
      and a.grantee <> p.proowner
  loop
    execute format('grant execute on function pgsched.%s to %s', one.functions, one.grantee);
  end loop;
end $$;
