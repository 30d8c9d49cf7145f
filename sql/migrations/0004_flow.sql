-- Tasks that wait for others, and groups: tasks whose payload is a plan of other tasks.
--
-- What a row waits for is in `depends_on` for good, and in `dependencies` as long as it is not settled. A row that others
-- wait for is `observed`: whoever ends it calls settle() in the same transaction. The mark is set at the commit of the row
-- that waits, under a lock on the row it waits for, so either the end sees the mark or the commit sees the end.

create domain pgsched.on_dependency_dead as text
  constraint on_dependency_dead_must_be_cancel_run_or_wait check (value in ('cancel', 'run', 'wait'));
create domain pgsched.concurrency_key as text
  constraint concurrency_key_must_have_1_to_200_characters check (length(value) between 1 and 200);

alter table pgsched.tasks
  add column on_dependency_dead pgsched.on_dependency_dead not null default 'cancel',
  add column concurrency_key pgsched.concurrency_key,
  add column waiting_for integer not null default 0,
  add column observed boolean not null default false,
  add column fired bigint[];
comment on column pgsched.tasks.on_dependency_dead is
  'What becomes of it when one of them is dead or cancelled: cancel, run (as if that one were completed) or wait (for its retry).';
comment on column pgsched.tasks.concurrency_key is 'Whose limits of the queue count for it: a tenant, an account.';
comment on column pgsched.tasks.waiting_for is 'How many tasks it still waits for.';
comment on column pgsched.tasks.observed is 'Others wait for it: its end is told them in the same transaction.';
comment on column pgsched.tasks.fired is 'Of a group: the ids of the children of the tick under way.';

create table pgsched.dependencies (
  upstream_id bigint not null,
  task_id bigint not null,
  primary key (upstream_id, task_id)
);
create index dependencies_task on pgsched.dependencies (task_id);
comment on table pgsched.dependencies is 'Who still waits for whom.';
comment on column pgsched.dependencies.upstream_id is 'The task that is waited for.';
comment on column pgsched.dependencies.task_id is 'The task that waits.';

create function pgsched.settle(ids bigint[]) returns integer
language plpgsql as $$
-- Tells those who wait for these tasks that they have ended. Returns how many were released or cancelled.
-- Rows are locked in the order of their ids, here as in a finish.
declare
  ended bigint[] := ids;
  over bigint[];
  moved_rows integer := 0;
begin
  while cardinality(ended) > 0 loop
    with upstream as (
      select e.id, coalesce(t.status, 'deleted') as status,
        t.status is not null and t.status not in ('dead', 'cancelled') as good
      from unnest(ended) as e(id) left join pgsched.tasks t on t.id = e.id
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
        and (u.good or u.status = 'deleted' or t.on_dependency_dead <> 'wait' or t.fired is not null)
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
          when l.dependency_mode = 'any' then n.some_good or l.policy = 'run'
          else l.waiting_for - n.settled <= 0 and (n.bad_id is null or l.policy = 'run') end as released,
        l.policy <> 'run' and n.bad_id is not null
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
comment on function pgsched.settle is
  'Tells the tasks that wait for these that they have ended; returns how many of them go on or are cancelled.';

create function pgsched.block_task(task pgsched.tasks, waiting_for integer) returns pgsched.tasks
language plpgsql as $$
-- A row that depends on so many others.
begin
  if task.schedule_type <> 'one_time' then
    raise invalid_parameter_value using message = 'depends_on is for one-time tasks, this one is ' || task.schedule_type,
      column = 'depends_on', table = 'tasks', schema = 'pgsched';
  end if;
  task.status := 'blocked';
  task.next_run_at := null;
  task.waiting_for := block_task.waiting_for;
  return task;
end $$;

create function pgsched.check_dependencies(id bigint, upstream bigint[], made_by bigint default null) returns void
language plpgsql as $$
-- Refuses ids that are not there, and circles. `made_by`: the parent of a row that is being inserted.
declare
  unknown bigint;
begin
  select u into unknown
  from unnest(upstream) u
  where not exists (select from pgsched.tasks t where t.id = u)
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

create function pgsched.add_dependencies() returns trigger
language plpgsql as $$
-- Writes down whom a blocked row waits for.
begin
  perform pgsched.check_dependencies(new.id, new.depends_on, new.parent_id);
  insert into pgsched.dependencies (upstream_id, task_id) select distinct u, new.id from unnest(new.depends_on) u;
  return null;
end $$;
create trigger wait_for after insert on pgsched.tasks
  for each row when (new.status = 'blocked' and cardinality(new.depends_on) > 0)
  execute function pgsched.add_dependencies();

create function pgsched.change_dependencies() returns trigger
language plpgsql as $$
-- An edit of depends_on: only of a row that has not begun, and with the rows it waits for locked until the commit. A trigger
-- after updates would do it as an insert does, but would be paid by every claim and finish.
declare
  ended record;
begin
  if old.status not in ('blocked', 'pending') or old.attempts > 0 or old.fired is not null then
    raise object_not_in_prerequisite_state using
      message = format('depends_on of task %s cannot be changed: it has begun or ended', old.id);
  end if;
  delete from pgsched.dependencies d where d.task_id = new.id;
  perform pgsched.check_dependencies(new.id, new.depends_on);
  perform from pgsched.tasks t where t.id = any(new.depends_on) order by t.id for no key update;
  select t.id, t.status into ended
  from pgsched.tasks t where t.id = any(new.depends_on) and t.status in ('dead', 'cancelled') limit 1;
  if found and new.on_dependency_dead = 'cancel' then
    raise invalid_parameter_value using message = format('depends_on: task %s is %s', ended.id, ended.status),
      column = 'depends_on', table = 'tasks', schema = 'pgsched';
  end if;
  insert into pgsched.dependencies (upstream_id, task_id)
  select t.id, new.id from pgsched.tasks t
  where t.id = any(new.depends_on) and t.status <> 'completed'
    and not (t.status in ('dead', 'cancelled') and new.on_dependency_dead = 'run');
  get diagnostics new.waiting_for = row_count;
  update pgsched.tasks t set observed = true where t.id = any(new.depends_on) and not t.observed;
  if new.waiting_for = 0
    or new.dependency_mode = 'any' and new.waiting_for < (select count(distinct u) from unnest(new.depends_on) u) then
    delete from pgsched.dependencies d where d.task_id = new.id;
    new.status := 'pending';
    new.next_run_at := greatest(new.scheduled_for, now());
    new.waiting_for := 0;
    if new.enabled then
      perform pgsched.wake_sleepers(new.queue, new.next_run_at);
    end if;
  else
    new := pgsched.block_task(new, new.waiting_for);
  end if;
  new.updated_at := now();
  return new;
end $$;
create trigger block before update of depends_on on pgsched.tasks
  for each row when (old.depends_on is distinct from new.depends_on) execute function pgsched.change_dependencies();

create function pgsched.watch_dependencies() returns trigger
language plpgsql as $$
-- At the commit of a row that waits: marks those it waits for, and settles what has ended by then. All of them are locked,
-- also those that are marked already: one that is just being ended by another transaction is waited for.
begin
  perform from pgsched.tasks t where t.id = any(new.depends_on) order by t.id for no key update;
  update pgsched.tasks t set observed = true where t.id = any(new.depends_on) and not t.observed;
  perform pgsched.settle(array(
    select d from unnest(new.depends_on) d left join pgsched.tasks t on t.id = d
    where t.id is null or t.status in ('completed', 'dead', 'cancelled')));
  return null;
end $$;
create constraint trigger watch after insert on pgsched.tasks deferrable initially deferred
  for each row when (new.status = 'blocked' and cardinality(new.depends_on) > 0)
  execute function pgsched.watch_dependencies();

create function pgsched.forget_dependencies() returns trigger
language plpgsql as $$
-- A deleted row waits for nothing, and who waits for it is told.
begin
  delete from pgsched.dependencies d where d.task_id = old.id;
  if old.observed then
    perform pgsched.settle(array[old.id]);
  end if;
  return null;
end $$;
create trigger forget after delete on pgsched.tasks
  for each row when (old.observed or old.status = 'blocked') execute function pgsched.forget_dependencies();

-- Groups.

create function pgsched.group_steps(payload jsonb)
returns table(place bigint, name text, "order" numeric, parallel boolean, "after" text[], step jsonb)
language sql immutable as $$
select s.place, coalesce(s.step ->> 'name', s.step ->> 'task_type'),
  coalesce((s.step ->> 'order')::numeric, s.place), coalesce((s.step ->> 'parallel')::boolean, true),
  case when s.step ? 'after' then array(select jsonb_array_elements_text(s.step -> 'after')) end, s.step
from jsonb_array_elements(payload -> 'steps') with ordinality as s(step, place)
$$;

create function pgsched.group_edges(payload jsonb) returns table(name text, waits_for text)
language sql immutable as $$
-- Who waits for whom: for the names in `after`; without it for all steps of the stage before. A stage is a run of steps of
-- one order that may be side by side. Stages are not joined: the planner takes thousands of steps for a handful.
with step as (select * from pgsched.group_steps(payload)),
staged as (
  select s.name, sum(s.begins) over (order by s."order", s.place) as stage
  from (
    select s.*, case
      when s.parallel and lag(s.parallel) over w and lag(s."order") over w = s."order" then 0 else 1 end as begins
    from step s where s."after" is null
    window w as (order by s."order", s.place)) s
),
stages as (
  select array_agg(s.name) as names, lag(array_agg(s.name)) over (order by s.stage) as earlier
  from staged s group by s.stage
)
select n, e from stages s cross join unnest(s.names) n cross join unnest(s.earlier) e
union all
select s.name, a.waits_for from step s cross join unnest(s."after") a(waits_for)
$$;

create function pgsched.group_problem(payload jsonb) returns text
language plpgsql immutable as $$
-- The rule that a group's payload breaks, or null.
declare
  one record;
  steps integer;
  laters integer[];
  earliers integer[];
  places integer[];  -- of each step, where its edges begin in the two above
  waits integer[];  -- of each step, for how many it still waits
  free integer[];
  before integer[];
  step integer;
  edge integer;
  head integer := 1;
begin
  if jsonb_typeof(payload -> 'steps') is distinct from 'array' or jsonb_array_length(payload -> 'steps') = 0 then
    return 'steps must be a list of one step or more';
  end if;
  if jsonb_array_length(payload -> 'steps') > 10000 then
    return 'steps must be at most 10000, got ' || jsonb_array_length(payload -> 'steps');
  end if;
  for one in select s.step, s.place from jsonb_array_elements(payload -> 'steps') with ordinality as s(step, place) loop
    if jsonb_typeof(one.step) <> 'object' then
      return format('step %s must be an object', one.place);
    end if;
    if jsonb_typeof(one.step -> 'task_type') is distinct from 'string' then
      return format('step %s must have a task_type', one.place);
    end if;
    if exists (select from jsonb_object_keys(one.step) k where k not in (
      'task_type', 'name', 'payload', 'metadata', 'order', 'parallel', 'after', 'queue', 'priority', 'max_attempts',
      'backoff', 'backoff_delay', 'backoff_max', 'timeout', 'on_dependency_dead', 'concurrency_key', 'tags')) then
      return format('step %s: %s is no key of a step', one.place, (
        select min(k) from jsonb_object_keys(one.step) k where k not in (
          'task_type', 'name', 'payload', 'metadata', 'order', 'parallel', 'after', 'queue', 'priority', 'max_attempts',
          'backoff', 'backoff_delay', 'backoff_max', 'timeout', 'on_dependency_dead', 'concurrency_key', 'tags')));
    end if;
    if one.step ? 'name' and jsonb_typeof(one.step -> 'name') <> 'string' then
      return format('step %s: name must be text', one.place);
    end if;
    if one.step ? 'order' and jsonb_typeof(one.step -> 'order') <> 'number' then
      return format('step %s: order must be a number', one.place);
    end if;
    if one.step ? 'parallel' and jsonb_typeof(one.step -> 'parallel') <> 'boolean' then
      return format('step %s: parallel must be true or false', one.place);
    end if;
    if one.step ? 'after' and (jsonb_typeof(one.step -> 'after') <> 'array'
      or exists (select from jsonb_array_elements(one.step -> 'after') a where jsonb_typeof(a) <> 'string')) then
      return format('step %s: after must be a list of names', one.place);
    end if;
    if one.step ? 'tags' and jsonb_typeof(one.step -> 'tags') <> 'array' then
      return format('step %s: tags must be a list', one.place);
    end if;
    if one.step ->> 'task_type' = 'pgsched.group' then
      perform pgsched.check_group(coalesce(one.step -> 'payload', '{}'));
    end if;
    -- The rules of the columns.
    perform (one.step ->> 'task_type')::pgsched.task_type, (one.step -> 'payload')::pgsched.payload,
      (one.step -> 'metadata')::pgsched.metadata, (one.step ->> 'queue')::pgsched.queue_name,
      (one.step ->> 'priority')::pgsched.priority, (one.step ->> 'max_attempts')::pgsched.max_attempts,
      (one.step ->> 'backoff')::pgsched.backoff, (one.step ->> 'backoff_delay')::pgsched.backoff_delay,
      (one.step ->> 'backoff_max')::pgsched.backoff_max, (one.step ->> 'timeout')::pgsched.timeout,
      (one.step ->> 'on_dependency_dead')::pgsched.on_dependency_dead,
      (one.step ->> 'concurrency_key')::pgsched.concurrency_key;
  end loop;
  select s.name into one from pgsched.group_steps(payload) s group by s.name having count(*) > 1 limit 1;
  if found then
    return format('steps must have different names, %L is there twice', one.name);
  end if;
  select s.name, a.waits_for into one
  from pgsched.group_steps(payload) s cross join unnest(s."after") a(waits_for)
  where not exists (select from pgsched.group_steps(payload) o where o.name = a.waits_for) limit 1;
  if found then
    return format('step %L: after names %L, which is no step', one.name, one.waits_for);
  end if;
  if (select count(*) > 1000000 from pgsched.group_edges(payload)) then
    return 'steps must not wait for one another more than 1000000 times in all: put a step in between that joins them';
  end if;
  -- Take away what waits for nothing that is left, edge by edge; a circle stays.
  if exists (select from pgsched.group_steps(payload) s where cardinality(s."after") > 0) then
    steps := jsonb_array_length(payload -> 'steps');
    waits := array_fill(0, array[steps]);
    places := array_fill(0, array[steps]);
    before := array_fill(0, array[steps]);
    select array_agg(e.later order by e.earlier), array_agg(e.earlier order by e.earlier) into laters, earliers
    from (
      select later.place::integer as later, earlier.place::integer as earlier
      from pgsched.group_edges(payload) e
      join pgsched.group_steps(payload) later on later.name = e.name
      join pgsched.group_steps(payload) earlier on earlier.name = e.waits_for) e;
    for edge in 1..cardinality(laters) loop
      waits[laters[edge]] := waits[laters[edge]] + 1;
      if places[earliers[edge]] = 0 then
        places[earliers[edge]] := edge;
      end if;
    end loop;
    free := array(select i from generate_series(1, steps) i where waits[i] = 0);
    while head <= cardinality(free) loop
      step := free[head];
      edge := places[step];
      while edge > 0 and edge <= cardinality(laters) and earliers[edge] = step loop
        waits[laters[edge]] := waits[laters[edge]] - 1;
        if waits[laters[edge]] = 0 then
          free := free || laters[edge];
        end if;
        edge := edge + 1;
      end loop;
      head := head + 1;
    end loop;
    if cardinality(free) < steps then
      -- What is left waits for a circle or is in one: back along the edges, until a step comes twice.
      for edge in 1..cardinality(laters) loop
        if waits[laters[edge]] > 0 and waits[earliers[edge]] > 0 then
          before[laters[edge]] := earliers[edge];
        end if;
      end loop;
      step := (select min(i) from generate_series(1, steps) i where waits[i] > 0);
      for edge in 1..steps loop
        step := before[step];
      end loop;
      free := array[step];
      while before[step] <> free[1] loop
        step := before[step];
        free := free || step;
      end loop;
      return format('step %L waits for itself', (
        select min(s.name) from pgsched.group_steps(payload) s where s.place = any(free)));
    end if;
  end if;
  return null;
end $$;
comment on function pgsched.group_problem is 'The rule that the payload of a group breaks, or null.';

create function pgsched.check_group(payload jsonb) returns void
language plpgsql immutable as $$
declare
  problem text := pgsched.group_problem(payload);
begin
  if problem is not null then
    raise invalid_parameter_value using message = 'payload of a group: ' || problem,
      column = 'payload', table = 'tasks', schema = 'pgsched';
  end if;
end $$;

create function pgsched.recheck_group() returns trigger
language plpgsql as $$
begin
  perform pgsched.check_group(new.payload);
  return new;
end $$;
create trigger recheck_group before update of payload, task_type on pgsched.tasks
  for each row when (new.task_type = 'pgsched.group') execute function pgsched.recheck_group();

create function pgsched.fire_group(id bigint, token bigint) returns integer
language plpgsql as $$
-- Makes the children of a group's tick, and lets the group wait for them. For the worker that claimed it: with another
-- fencing token nothing happens and null is returned. The claim does not count as an attempt: the one that joins does.
#variable_conflict use_column
declare
  task pgsched.tasks;
  ids bigint[];
begin
  select * into task from pgsched.tasks t
  where t.id = fire_group.id and t.fencing_token = token and t.status = 'running' for no key update;
  if not found then
    return null;
  end if;
  select array_agg(nextval(pg_get_serial_sequence('pgsched.tasks', 'id')) order by s.place) into ids
  from pgsched.group_steps(task.payload) s;
  update pgsched.tasks t
  set status = 'blocked', next_run_at = null, locked_by = null, locked_until = null, attempts = greatest(t.attempts - 1, 0),
    fired = ids, waiting_for = cardinality(ids), last_run_at = clock_timestamp(), updated_at = now()
  where t.id = task.id;
  insert into pgsched.dependencies (upstream_id, task_id) select unnest(ids), task.id;
  insert into pgsched.tasks (
    id, task_type, task_name, queue, priority, payload, metadata, tags, tenant_id, user_id, created_by, schedule_type,
    scheduled_for, next_run_at, timezone, max_attempts, backoff, backoff_delay, backoff_max, timeout, depends_on,
    on_dependency_dead, concurrency_key, parent_id, observed)
  select ids[s.place], s.step ->> 'task_type', s.name, coalesce(s.step ->> 'queue', task.queue),
    coalesce((s.step ->> 'priority')::smallint, task.priority), coalesce(s.step -> 'payload', '{}'),
    coalesce(s.step -> 'metadata', task.metadata),
    case when s.step ? 'tags' then array(select jsonb_array_elements_text(s.step -> 'tags')) else task.tags end,
    -- A group that somebody runs before its time: its steps are for now, or those behind the first would wait for it.
    task.tenant_id, task.user_id, task.created_by, 'one_time', least(task.scheduled_for, now()),
    clock_timestamp(), task.timezone,
    coalesce((s.step ->> 'max_attempts')::integer, 3), coalesce(s.step ->> 'backoff', 'exponential'),
    coalesce((s.step ->> 'backoff_delay')::interval, '5 seconds'),
    coalesce((s.step ->> 'backoff_max')::interval, '1 hour'), (s.step ->> 'timeout')::interval,
    coalesce(w.upstream, '{}'), coalesce(s.step ->> 'on_dependency_dead', 'cancel'),
    coalesce(s.step ->> 'concurrency_key', task.concurrency_key), task.id, true
  from pgsched.group_steps(task.payload) s
  left join (
    select e.name, array_agg(ids[o.place] order by o.place) as upstream
    from pgsched.group_edges(task.payload) e join pgsched.group_steps(task.payload) o on o.name = e.waits_for
    group by e.name) w on w.name = s.name
  order by s.place;
  return cardinality(ids);
end $$;
comment on function pgsched.fire_group is 'For workers: makes the children of a claimed group. Returns how many; null when the claim was lost.';

create function pgsched.join_group(id bigint, token bigint)
returns table(ok boolean, result jsonb, error text, seconds double precision)
language sql stable as $$
-- What came of the children of a group that was claimed again: no row when the claim was lost.
select bool_and(c.status is not distinct from 'completed'),
  jsonb_object_agg(coalesce(c.task_name, c.task_type), c.result) filter (where c.status = 'completed'),
  left(string_agg(format('step %s (task %s) is %s%s', c.task_name, f.id, coalesce(c.status, 'deleted'),
    ': ' || split_part(c.last_error, E'\n', 1)), '; ' order by f.id)
    filter (where c.status is distinct from 'completed'), 4000),
  extract(epoch from clock_timestamp() - g.last_run_at)::double precision
from pgsched.tasks g
cross join unnest(g.fired) as f(id)
left join pgsched.tasks c on c.id = f.id
where g.id = join_group.id and g.fencing_token = token and g.status = 'running'
group by g.id
$$;
comment on function pgsched.join_group is 'For workers: what came of the children of a claimed group. No row when the claim was lost.';
