-- Works with programs of version 12 of the schema and later.
-- What other people's databases have: settings of roles and sessions, publications, foreign keys, columns, triggers and
-- policies of their own, roles with few rights.
--
-- What an INSERT or an edit runs is run with the settings of whoever makes it. Backslashes in plain strings mean what
-- standard_conforming_strings says, letters have the case that the language of the database gives them, names are found by
-- the search_path. What runs for every row names all things by their schema, which costs nothing; what runs seldom has a
-- path and settings of its own.

create or replace function pgsched.is_forward(value interval) returns boolean
language sql immutable
-- No part is negative. By its parts: the text of an interval follows the session's intervalstyle.
return least(date_part('year', value), date_part('month', value), date_part('day', value),
  date_part('hour', value), date_part('minute', value), date_part('microsecond', value)) >= 0;

create or replace function pgsched.cron_number(word text, low integer, high integer, names text[]) returns integer
language sql immutable
-- The number that a word of a cron field stands for; null when it stands for none.
return case
  when word = any(names) then array_position(names, word) - 1 + low
  when word ~ '^[0-9]{1,9}$' and word::integer between low and high then word::integer
end;


create or replace function pgsched.cron_problem(expression text) returns text
language plpgsql immutable strict
set search_path = pg_catalog, pg_temp set standard_conforming_strings = on as $$
-- The rule that a cron expression breaks, or null. Field by field, as the worker that plans the row reads it; whether the
-- fields together ever match is left to the worker.
declare
  fields text[] := regexp_split_to_array(lower(btrim(expression, E' \t\n\r\f\v') collate "C"), '\s+');
  labels constant text[] := array['second', 'minute', 'hour', 'day of month', 'month', 'day of week'];
  lows constant integer[] := array[0, 0, 0, 1, 1, 0];
  highs constant integer[] := array[59, 59, 23, 31, 12, 7];
  names text[];
  item text;
  span text;
  step text;
  word text;
  ends text[];
begin
  if length(expression) > 200 then
    return 'must have at most 200 characters, got ' || length(expression);
  end if;
  if fields[1] ~ '^@' and cardinality(fields) = 1 then
    if fields[1] in ('@hourly', '@daily', '@midnight', '@weekly', '@monthly', '@yearly', '@annually') then
      return null;
    end if;
    return 'an alias must be one of @hourly @daily @midnight @weekly @monthly @yearly @annually';
  end if;
  if cardinality(fields) not in (5, 6) then
    return 'must have 5 fields (minute hour day month weekday) or 6 with seconds first, got '
      || case when fields[1] = '' then 0 else cardinality(fields) end;
  end if;
  if cardinality(fields) = 5 then
    fields := array['0'] || fields;
  elsif fields[1] ~ '\*|^[^-]*/' and fields[6] ~ '[0-9]' then
    return 'may mean seconds first or last; they come first: name the weekday if that is meant, as in "sun", got "'
      || fields[6] || '"';
  end if;
  for i in 1..6 loop
    names := case i
      when 5 then array['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec']
      when 6 then array['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat']
      else array[]::text[] end;
    if i in (4, 6) and fields[i] = '?' then
      continue;
    end if;
    foreach item in array string_to_array(fields[i], ',') loop
      if i = 4 and item = 'l' then
        continue;
      end if;
      if i = 6 and item ~ '[#l]' then
        -- The nth weekday (mon#2) and the last one (5l, l5, fril).
        word := case when item ~ '#' then split_part(item, '#', 1) else regexp_replace(item, '^l|l$', '') end;
        if item ~ '#' and item !~ '#[1-5]$' or pgsched.cron_number(word, 0, 7, names) is null then
          return format('%s cannot be read: %L', labels[i], item);
        end if;
        continue;
      end if;
      span := split_part(item, '/', 1);
      step := nullif(substr(item, length(span) + 1), '');
      if step is not null and (step !~ '^/[0-9]{1,9}$' or substr(step, 2)::integer not between 1 and highs[i]) then
        return format('%s step must be between 1 and %s, got %L', labels[i], highs[i], substr(step, 2));
      end if;
      continue when span = '*';
      ends := string_to_array(span, '-');
      if cardinality(ends) not in (1, 2) then
        return format('%s cannot be read: %L', labels[i], item);
      end if;
      foreach word in array ends loop
        if pgsched.cron_number(word, lows[i], highs[i], names) is null then
          if word ~ '^[0-9]+$' then
            return format('%s must be between %s and %s, got %s', labels[i], lows[i], highs[i], word);
          end if;
          return format('%s cannot be read: %L', labels[i], item);
        end if;
      end loop;
      -- A range may end on Sunday: fri-sun.
      if pgsched.cron_number(ends[1], lows[i], highs[i], names) > pgsched.cron_number(ends[2], lows[i], highs[i], names)
        and not (i = 6 and ends[2] in ('sun', '0')) then
        return format('%s range must not run backwards, got %L', labels[i], span);
      end if;
    end loop;
  end loop;
  return null;
end $$;

create or replace function pgsched.prepare_task() returns trigger
language plpgsql as $$
-- Run for every row, in the session of whoever inserts it: so each name has its schema.
begin
  if new.schedule_type is null then
    new.schedule_type := case
      when new.cron_expression is not null then 'recurring'
      when new.repeat_interval is not null then 'repeating'
      else 'one_time' end;
  end if;
  if new.timezone operator(pg_catalog.<>) 'UTC' or new.cron_expression is not null then
    perform pgsched.check_schedule(new);
  end if;
  if new.task_type operator(pg_catalog.=) 'pgsched.group' then
    perform pgsched.check_group(new.payload);
  end if;
  if new.status operator(pg_catalog.=) 'pending' then
    if new.schedule_type operator(pg_catalog.=) 'one_time' then
      new.scheduled_for := coalesce(new.scheduled_for, new.next_run_at, new.start_date, pg_catalog.now());
      new.next_run_at := coalesce(
        new.next_run_at,
        new.scheduled_for operator(pg_catalog.+) coalesce(new.jitter operator(pg_catalog.*) pg_catalog.random(), '0'));
    else
      if new.schedule_type operator(pg_catalog.=) 'repeating' then
        -- The origin of the grid: every tick is computed from it, so that a month's end or a clock change does not
        -- shift the ticks after it.
        new.start_date := coalesce(new.start_date, new.scheduled_for, pg_catalog.now());
      end if;
      -- Due at once without a tick: the worker that claims it plans the first one.
      new.next_run_at := coalesce(new.next_run_at, new.scheduled_for, pg_catalog.now());
    end if;
    if pg_catalog.cardinality(new.depends_on) operator(pg_catalog.>) 0 then
      new := pgsched.block_task(new, (select pg_catalog.count(distinct u) from pg_catalog.unnest(new.depends_on) u)::integer);
      return new;
    end if;
    if new.enabled and exists (
      select from pgsched.workers w
      where w.sleeping_until operator(pg_catalog.>) new.next_run_at
        and (w.queues operator(pg_catalog.@>) array[new.queue::pg_catalog.text]
          or new.queue operator(pg_catalog.~~) any (w.patterns))) then
      perform pg_catalog.pg_notify('pgsched', new.queue);
    end if;
  end if;
  return new;
end $$;

-- Seldom run by an INSERT or an edit: the path is the function's own.
alter function pgsched.block_task set search_path = pg_catalog, pg_temp;
alter function pgsched.check_schedule set search_path = pg_catalog, pg_temp;
alter function pgsched.check_group set search_path = pg_catalog, pg_temp;
alter function pgsched.group_problem set search_path = pg_catalog, pg_temp;
alter function pgsched.recheck_group set search_path = pg_catalog, pg_temp;
alter function pgsched.move_due_clock set search_path = pg_catalog, pg_temp;
alter function pgsched.announce_task set search_path = pg_catalog, pg_temp;
alter function pgsched.touch_task set search_path = pg_catalog, pg_temp;
alter function pgsched.unpause_queue set search_path = pg_catalog, pg_temp;
alter function pgsched.check_limits set search_path = pg_catalog, pg_temp;
alter function pgsched.limits_problem set search_path = pg_catalog, pg_temp;
alter function pgsched.limits_problem set standard_conforming_strings = on;
alter function pgsched.limit_queue set search_path = pg_catalog, pg_temp;
alter function pgsched.limit_queue set intervalstyle = 'postgres';
alter function pgsched.unlimit_queue set search_path = pg_catalog, pg_temp;
alter function pgsched.change_tasks set search_path = pg_catalog, pg_temp;
alter function pgsched.tell_cancelled set timezone = 'UTC';
alter function pgsched.retention_rules set search_path = pg_catalog, pg_temp;

create function pgsched.instant_after(delay interval) returns text
language sql stable
set search_path = pg_catalog, pg_temp as $$
-- Not 'UTC': a session may have a zone whose abbreviation that is, as UTC+14.
select to_char((now() + delay) at time zone interval '0', 'FMYYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;
comment on function pgsched.instant_after is 'For the schema: the instant so far from now, in text that any session reads alike.';
grant execute on function pgsched.instant_after to public;

-- An id that is given by hand, ahead of the sequence, would be met by it some day. So the sequence goes past it at once,
-- whatever becomes of the transaction. Ids of the upper half it leaves alone, or one row could use up all ids.
create function pgsched.keep_ids_ahead() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  gap bigint := new.id - coalesce(pg_sequence_last_value('pgsched.tasks_id_seq'), 0);
begin
  if new.id >= 4611686018427387904 or gap <= 0 then
    return new;
  end if;
  if gap <= 1000000 then
    -- Drawn one by one: whoever draws beside us, the sequence never goes back.
    perform max(nextval('pgsched.tasks_id_seq')) from generate_series(1, gap);
  else
    -- Nobody draws so many between the look and the step.
    perform setval('pgsched.tasks_id_seq', new.id)
    where new.id - coalesce(pg_sequence_last_value('pgsched.tasks_id_seq'), 0) > 500000;
  end if;
  return new;
end $$;
comment on function pgsched.keep_ids_ahead is 'For the schema: lets the sequence of ids pass an id that was given by hand.';
-- Whoever inserts may see how far the sequence is: it is the id that the INSERT returns.
grant select on sequence pgsched.tasks_id_seq to public;
create trigger keep_ids_ahead before insert on pgsched.tasks
  for each row when (new.id > coalesce(pg_sequence_last_value('pgsched.tasks_id_seq'), 0))
  execute function pgsched.keep_ids_ahead();

-- Where a trigger or a policy of the users keeps a row out, nothing is inserted and nothing is raised.
create or replace function pgsched.schedule(
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
  concurrency_key text default null
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
      depends_on, dependency_mode, on_dependency_dead, concurrency_key)
    values (
      schedule.task_type, coalesce(schedule.payload, '{}'), coalesce(run_at, now() + delay), schedule.cron_expression,
      coalesce(schedule.timezone, 'UTC'), schedule.repeat_interval, schedule.repeat_count, schedule.start_date,
      schedule.end_date, coalesce(schedule.queue, 'default'), coalesce(schedule.priority, 5), schedule.idempotency_key,
      schedule.task_name, coalesce(schedule.tags, '{}'), coalesce(schedule.metadata, '{}'), schedule.tenant_id,
      schedule.user_id, schedule.created_by, coalesce(schedule.max_attempts, 3),
      coalesce(schedule.backoff, 'exponential'), coalesce(schedule.backoff_delay, '5 seconds'),
      coalesce(schedule.backoff_max, '1 hour'), schedule.timeout, coalesce(schedule.on_missed, 'once'),
      schedule.catchup_window, coalesce(schedule.overlap, 'skip'), schedule.jitter, coalesce(schedule.enabled, true),
      schedule.parent_id, coalesce(schedule.depends_on, '{}'), coalesce(schedule.dependency_mode, 'all'),
      coalesce(schedule.on_dependency_dead, 'cancel'), schedule.concurrency_key)
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

create or replace function pgsched.run_now(id bigint) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
  task pgsched.tasks := pgsched.locked_task(run_now.id);
  child bigint;
begin
  if task.schedule_type = 'one_time' and task.status = 'running' then
    raise object_not_in_prerequisite_state using message = format('task %s is running already', task.id);
  end if;
  if task.schedule_type = 'one_time' and task.status = 'pending' then
    update pgsched.tasks t set next_run_at = least(t.next_run_at, now()), enabled = true where t.id = task.id;
    return task.id;
  end if;
  insert into pgsched.tasks as t (
    task_type, task_name, queue, priority, payload, metadata, tags, tenant_id, user_id, created_by, timezone,
    max_attempts, backoff, backoff_delay, backoff_max, timeout, concurrency_key, parent_id)
  values (
    task.task_type, task.task_name, task.queue, task.priority, task.payload, task.metadata, task.tags, task.tenant_id,
    task.user_id, task.created_by, task.timezone, task.max_attempts, task.backoff, task.backoff_delay,
    task.backoff_max, task.timeout, task.concurrency_key, task.id)
  returning t.id into child;
  if child is null then
    raise integrity_constraint_violation using
      message = 'the task was not inserted: a trigger or a row security policy on pgsched.tasks keeps it out';
  end if;
  return child;
end $$;

create or replace function pgsched.fire_group(id bigint, token bigint) returns integer
language plpgsql as $$
-- Makes the children of a group's tick, and lets the group wait for them. For the worker that claimed it: with another
-- fencing token nothing happens and null is returned. The claim does not count as an attempt: the one that joins does.
#variable_conflict use_variable
declare
  task pgsched.tasks;
  ids bigint[];
  made integer;
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
  get diagnostics made = row_count;
  if made < cardinality(ids) then
    raise integrity_constraint_violation using message = format(
      'of %s steps %s were not inserted: a trigger or a row security policy on pgsched.tasks keeps them out',
      cardinality(ids), cardinality(ids) - made);
  end if;
  return made;
end $$;

-- A parameter of an SQL function gives way to a column of its name, which users may add.
create or replace function pgsched.join_group(id bigint, token bigint)
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
where g.id = join_group.id and g.fencing_token = join_group.token and g.status = 'running'
group by g.id
$$;

create or replace function pgsched.due_of_keys(
  name text, task_types text[], keys text[], rooms integer[], priorities smallint[], ageing interval, lifo boolean)
returns table (place bigint, id bigint, round bigint)
language sql stable rows 10 as $$
-- The due rows of some keys, of each key so many as it has room, the first one in round 1.
select k.place, c.id, row_number() over (partition by k.place order by c.weight desc, c.turn, c.id)
from unnest(due_of_keys.keys, due_of_keys.rooms) with ordinality as k(key, room, place)
cross join lateral (
  select f.id, f.weight, f.turn
  from (
    select t.id, extract(epoch from t.next_run_at) * case when due_of_keys.lifo then -1 else 1 end as turn,
      p.priority + coalesce(floor(extract(epoch from now() - t.next_run_at) / extract(epoch from due_of_keys.ageing)), 0) as weight
    from unnest(due_of_keys.priorities) as p(priority)
    cross join lateral (
      select * from (
        select t.id, t.next_run_at
        from pgsched.tasks t
        where not due_of_keys.lifo and t.queue = due_of_keys.name and t.concurrency_key = k.key and t.priority = p.priority
          and t.next_run_at is not null and t.enabled and t.concurrency_key is not null and t.next_run_at <= now()
          and (t.locked_until is null or t.locked_until < now()) and t.task_type = any(due_of_keys.task_types)
        order by t.next_run_at, t.id
        limit k.room) first_in
      union all
      select * from (
        select t.id, t.next_run_at
        from pgsched.tasks t
        where due_of_keys.lifo and t.queue = due_of_keys.name and t.concurrency_key = k.key and t.priority = p.priority
          and t.next_run_at is not null and t.enabled and t.concurrency_key is not null and t.next_run_at <= now()
          and (t.locked_until is null or t.locked_until < now()) and t.task_type = any(due_of_keys.task_types)
        order by t.next_run_at desc, t.id desc
        limit k.room) last_in
    ) t
  ) f
  order by f.weight desc, f.turn, f.id
  limit k.room
) c
$$;

create or replace function pgsched.next_keys(name text, after text, number integer) returns text[]
language sql stable as $$
-- The keys that come next, due or not: one step of the index each, however many rows a key has.
with recursive walk as (
  (select t.concurrency_key::text as key
   from pgsched.tasks t
   where t.queue = next_keys.name and t.concurrency_key > next_keys.after and t.next_run_at is not null and t.enabled
     and t.concurrency_key is not null
   order by t.concurrency_key
   limit 1)
  union all
  select (
    select t.concurrency_key::text
    from pgsched.tasks t
    where t.queue = next_keys.name and t.concurrency_key > walk.key and t.next_run_at is not null and t.enabled
      and t.concurrency_key is not null
    order by t.concurrency_key
    limit 1)
  from walk where walk.key is not null
)
select array(select w.key from walk w where w.key is not null limit next_keys.number)
$$;

-- Publications of all tables: what has no primary key is identified by the whole row, or no row of it can be deleted.
do $$
declare
  part regclass;
begin
  for part in
    select c.oid::regclass
    from pg_class c
    where c.relnamespace = 'pgsched'::regnamespace and c.relkind in ('r', 'p') and c.relpersistence = 'p'
      and c.relreplident = 'd' and not exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary)
  loop
    execute format('alter table %s replica identity full', part);
  end loop;
end $$;

create or replace function pgsched.history_days(ended_before timestamptz)
returns table (parent text, part text, begins timestamptz, ends timestamptz, bytes bigint)
language sql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO, MDY'
set standard_conforming_strings = on as $$
-- The partitions of the history whose time was over by then, the oldest first. Their bounds are text: written and read in UTC.
select d.parent, d.part, d.bounds[1]::timestamptz, d.bounds[2]::timestamptz, pg_total_relation_size(d.id)
from (
  select i.inhrelid as id, p.relname::text as parent, c.relname::text as part,
    regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''([^'']+)''\) TO \(''([^'']+)''\)') as bounds
  from pg_inherits i
  join pg_class c on c.oid = i.inhrelid
  join pg_class p on p.oid = i.inhparent
  where p.relnamespace = 'pgsched'::regnamespace and p.relname in ('executions', 'execution_logs', 'missed_ticks')
) d
where d.bounds is not null and d.bounds[2]::timestamptz <= ended_before
order by d.bounds[2]::timestamptz, d.part
$$;

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
  execute format('drop table pgsched.%I', day.part);
  perform set_config('lock_timeout', '0', true);
  return true;
exception
  when lock_not_available or deadlock_detected or undefined_table or dependent_objects_still_exist then
    return false;
end $$;

create or replace function pgsched.make_partitions(days_ahead integer default 7) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO, MDY'
set standard_conforming_strings = on as $$
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
  foreach parent in array array['executions', 'execution_logs', 'missed_ticks'] loop
    by_column := case parent when 'executions' then 'started_at' when 'execution_logs' then 'logged_at' else 'noted_at' end;
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

create function pgsched.delete_apart(ids bigint[], statuses text[], archive boolean default false)
returns table (id bigint, status text, refusal text)
language plpgsql as $$
-- Deletes tasks, all at once if that can be, else in halves until those are found that something of the users' holds: a
-- foreign key, a trigger. Those stay, each with the reason; so do the rest once so many have been found one by one, in
-- another order each time. What is not about a row is raised.
#variable_conflict use_variable
declare
  todo int8range[];
  span int8range;
  part bigint[];
  gone bigint[];
  were text[];
  held bigint[] := '{}';
  reference record;
  columns text;
  tries integer := 100;
begin
  ids := array(select distinct i from unnest(ids) i);
  -- What foreign keys hold is mostly found by one look for each.
  for reference in
    select k.conrelid::regclass::text as name, a.attname
    from pg_constraint k
    join pg_attribute a on a.attrelid = k.conrelid and a.attnum = k.conkey[1]
    where k.contype = 'f' and k.confrelid = 'pgsched.tasks'::regclass and k.conrelid <> k.confrelid
      and k.confdeltype in ('a', 'r') and cardinality(k.conkey) = 1 and k.conparentid = 0
  loop
    begin
      execute format('select array(select distinct r.%I from %s r where r.%I = any ($1))',
        reference.attname, reference.name, reference.attname)
      into part using ids;
      held := held || part;
      return query
        select t.id, t.status::text, format('%s references it', reference.name)
        from pgsched.tasks t where t.id = any(part);
    exception
      when insufficient_privilege then null;  -- so they are found one by one
    end;
  end loop;
  ids := array(select i from unnest(ids) i except select h from unnest(held) h);
  ids := array(select i from unnest(ids) i order by random());
  if archive then
    select string_agg(quote_ident(t.attname), ', ' order by t.attnum) into columns
    from pg_attribute t
    join pg_attribute a on a.attname = t.attname and a.atttypid = t.atttypid
    where t.attrelid = 'pgsched.tasks'::regclass and a.attrelid = 'pgsched.archived_tasks'::regclass
      and t.attnum > 0 and a.attnum > 1 and not t.attisdropped and a.attgenerated = '' and a.attidentity = '';
  end if;
  todo := array[int8range(1, cardinality(ids) + 1)];
  while cardinality(todo) > 0 loop
    span := todo[cardinality(todo)];
    todo := trim_array(todo, 1);
    continue when isempty(span);
    part := ids[lower(span):upper(span) - 1];
    begin
      if archive then
        execute format(
          'with gone as (delete from pgsched.tasks t where t.id = any ($1) and t.status = any ($2) returning t.*),
            kept as (insert into pgsched.archived_tasks (%s) select %s from gone)
          select array_agg(g.id order by g.id), array_agg(g.status::text order by g.id) from gone g', columns, columns)
        into gone, were using part, statuses;
      else
        with deleted as (
          delete from pgsched.tasks t where t.id = any(part) and t.status = any(statuses) returning t.id, t.status)
        select array_agg(d.id order by d.id), array_agg(d.status::text order by d.id) into gone, were from deleted d;
      end if;
      set constraints all immediate;  -- a foreign key may be deferred to the commit
      return query select g.id, g.status, null::text from unnest(gone, were) as g(id, status);
      return query
        select t.id, t.status::text, 'a trigger keeps it'
        from pgsched.tasks t where t.id = any(part) and t.status = any(statuses);
    exception
      when others then
        if left(sqlstate, 2) in ('08', '25', '40', '53', '55', '57', '58', 'XX') then
          raise;
        end if;
        if cardinality(part) > 1 then
          todo := todo || int8range(lower(span), (lower(span) + upper(span)) / 2)
            || int8range((lower(span) + upper(span)) / 2, upper(span));
        else
          tries := tries - 1;
          return query select t.id, t.status::text, sqlerrm from pgsched.tasks t where t.id = any(part);
        end if;
    end;
    exit when tries = 0;
  end loop;
end $$;
comment on function pgsched.delete_apart is
  'For the schema: deletes tasks that have one of these statuses; what a foreign key or a trigger of others keeps stays, with the reason.';

create function pgsched.prune_finished(
  ids bigint[], archive boolean, out completed integer, out cancelled integer, out dead integer, out kept integer,
  out refusal text)
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
#variable_conflict use_variable
begin
  -- A crash may bring the last ones back, and they are deleted again.
  perform set_config('synchronous_commit', 'off', true);
  select count(*) filter (where d.refusal is null and d.status = 'completed'),
    count(*) filter (where d.refusal is null and d.status = 'cancelled'),
    count(*) filter (where d.refusal is null and d.status = 'dead'),
    cardinality(ids) - count(*) filter (where d.refusal is null), min(d.refusal)
  into completed, cancelled, dead, kept, refusal
  from pgsched.delete_apart(ids, array['completed', 'cancelled', 'dead'], archive) d;
end $$;
comment on function pgsched.prune_finished is
  'For workers: deletes the tasks of these that are completed, cancelled or dead, to the archive if that is said. Returns how many of each, how many something else keeps, and what.';

create or replace function pgsched.delete_finished(
  ids bigint[], archive boolean, out completed integer, out cancelled integer, out dead integer)
language sql security definer
set search_path = pg_catalog, pg_temp as $$
-- For programs before version 19.
select p.completed, p.cancelled, p.dead from pgsched.prune_finished(ids, archive) p
$$;

create or replace function pgsched.change_tasks(action text, ids bigint[], dry_run boolean) returns setof bigint
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
        when 'run' then perform pgsched.run_now(one);
        when 'cancel' then perform pgsched.cancel(one);
        when 'retry' then perform pgsched.retry(one);
      end case;
    end if;
    return next one;
  end loop;
end $$;

revoke execute on function pgsched.keep_ids_ahead, pgsched.delete_apart, pgsched.prune_finished from public;

-- A variable that has the name of a column is the variable, whatever columns users add: columns are written with their table.
do $$
declare
  one regprocedure;
begin
  for one in
    select p.oid::regprocedure
    from pg_proc p join pg_language l on l.oid = p.prolang
    where p.pronamespace = 'pgsched'::regnamespace and l.lanname = 'plpgsql' and p.prosrc !~ '#variable_conflict'
  loop
    execute regexp_replace(
      pg_get_functiondef(one), 'AS \$function\$', e'AS $function$\n#variable_conflict use_variable');
  end loop;
end $$;
