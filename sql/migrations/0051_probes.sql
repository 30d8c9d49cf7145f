-- Works with programs of version 12 of the schema and later.
--
-- What touches one task at a time finds it by index, whatever the tables looked like when the session planned it first. A
-- session keeps the plans of a function: one that began with empty tables read them whole, for each of thousands of tasks, until
-- it ended or autovacuum had analyzed them. And to cancel a group costs what its steps cost.

create or replace function pgsched.cancel(id bigint) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = 'off' set plan_cache_mode = 'force_generic_plan' set jit = 'off' as $$
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
    -- A group is not told of their ends, as it is cancelled too: each would write another version of its row, and the next one
    -- would have to pass them all.
    delete from pgsched.dependencies d where d.task_id = cancel.id;
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
    perform pgsched.notify('pgsched_cancel', task.id::text);
  end if;
  perform pgsched.tell_cancelled(task);
  if task.observed then
    perform pgsched.settle(array[task.id]);
  end if;
end $$;

create or replace function pgsched.check_dependencies(id bigint, upstream bigint[], made_by bigint default null) returns void
language plpgsql
set enable_seqscan = 'off' set enable_hashjoin = 'off' set enable_mergejoin = 'off'
  set plan_cache_mode = 'force_generic_plan' set jit = 'off' as $$
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
  where case when exists (select from pgsched.tasks t where t.id = any(array[u])) then false else not pgsched.has_left(u) end
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
        select d.upstream_id from above join pgsched.dependencies d on d.task_id = any(array[above.id])
      )
      select from above where above.id = check_dependencies.id
    ) then
      raise invalid_parameter_value using message = format('depends_on: task %s would wait for itself', check_dependencies.id),
        column = 'depends_on', table = 'tasks', schema = 'pgsched';
    end if;
  end if;
end $$;

create or replace function pgsched.watch_dependencies() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = 'off' set enable_hashjoin = 'off' set enable_mergejoin = 'off'
  set plan_cache_mode = 'force_generic_plan' set jit = 'off' as $$
#variable_conflict use_variable
-- At the commit of a row that waits: marks those it waits for, and settles what has ended by then. All of them are locked,
-- also those that are marked already: one that is just being ended by another transaction is waited for.
begin
  perform from pgsched.tasks t where t.id = any(new.depends_on) order by t.id for no key update;
  update pgsched.tasks t set observed = true where t.id = any(new.depends_on) and not t.observed;
  perform pgsched.settle_ended(array(
    select d from unnest(new.depends_on) d left join pgsched.tasks t on t.id = any(array[d])
    where t.id is null or t.status in ('completed', 'dead', 'cancelled')), true);
  return null;
end $$;

create or replace function pgsched.settle_ended(ids bigint[], told boolean) returns integer
language plpgsql
set enable_seqscan = 'off' set enable_hashjoin = 'off' set enable_mergejoin = 'off'
  set plan_cache_mode = 'force_generic_plan' set jit = 'off' as $$
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
      -- Found by id and then judged: the planner might take any index of rows that have a parent.
      from (select * from pgsched.tasks t where t.id = any(ended) offset 0) t
      where t.parent_id is not null and t.idempotency_key like 'tick:%'
        and t.status in ('completed', 'dead', 'cancelled');
    end if;
    new_ends := true;
    with upstream as (
      select e.id, u.status, u.status not in ('dead', 'cancelled', 'deleted') as good
      from unnest(ended) as e(id)
      left join pgsched.tasks t on t.id = any(array[e.id])
      cross join lateral (
        select case when t.id is not null then t.status::text
          when pgsched.has_left(e.id) then 'completed'
          else 'deleted' end as status) u
      union all
      -- The tick of a schedule that may overlap itself ran in a child.
      select t.parent_id, 'completed', true
      from (select * from pgsched.tasks t where t.id = any(ended) offset 0) t
      where t.status = 'completed' and t.parent_id is not null and t.idempotency_key like 'tick:%'
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

create or replace function pgsched.wake_parents(ids bigint[]) returns integer
language sql
set search_path = pg_catalog, pg_temp set enable_seqscan = 'off' set plan_cache_mode = 'force_generic_plan' as $$
select count(*) filter (where pgsched.wake_parent(c.id, c.parent_id))::integer
from (
  select c.id, c.parent_id from (select * from pgsched.tasks t where t.id = any(wake_parents.ids) offset 0) c
  where c.parent_id is not null and c.status in ('completed', 'dead', 'cancelled')
  order by c.parent_id, c.id
  offset 0
) c
$$;

alter function pgsched.rejoin(bigint, bigint[])
  set enable_seqscan = 'off' set enable_hashjoin = 'off' set enable_mergejoin = 'off';
alter function pgsched.lock_below(bigint)
  set enable_seqscan = 'off' set enable_hashjoin = 'off' set enable_mergejoin = 'off' set jit = 'off';
alter function pgsched.add_dependencies() set enable_seqscan = 'off';
alter function pgsched.change_dependencies() set enable_seqscan = 'off';
alter function pgsched.forget_dependencies() set enable_seqscan = 'off';
alter function pgsched.change_tasks(text, bigint[], boolean, text) set enable_seqscan = 'off';
alter function pgsched.children_of(bigint) set enable_seqscan = 'off';
alter function pgsched.disable(bigint) set enable_seqscan = 'off';
alter function pgsched.edit_payloads(bigint[], jsonb, boolean) set enable_seqscan = 'off';
alter function pgsched.enable(bigint, boolean) set enable_seqscan = 'off';
alter function pgsched.follow(bigint, timestamptz, bigint) set enable_seqscan = 'off';
alter function pgsched.has_left(bigint) set enable_seqscan = 'off';
alter function pgsched.lock_steps(bigint[]) set enable_seqscan = 'off';
alter function pgsched.locked_task(bigint) set enable_seqscan = 'off';
alter function pgsched.resume_run(bigint, text[]) set enable_seqscan = 'off';
alter function pgsched.retry_locked(bigint, jsonb, bigint[]) set enable_seqscan = 'off';
alter function pgsched.run_now(bigint, text) set enable_seqscan = 'off';
alter function pgsched.torn_groups(bigint[]) set enable_seqscan = 'off';
alter function pgsched.wake_parent(bigint, bigint) set enable_seqscan = 'off';
