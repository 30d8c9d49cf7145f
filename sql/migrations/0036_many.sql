-- Works with programs of version 12 of the schema and later.
--
-- Many tasks: how many are in each status, and what will run within a day, both by reads of a bounded number of rows, whatever
-- the table holds beside them; and rates by which a task may count for more than one.

create index if not exists tasks_paused on pgsched.tasks (queue, id) where not enabled;
comment on index pgsched.tasks_paused is 'The tasks that are paused: for lists and counts of them.';

create function pgsched.about_rows(condition text) returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- What the planner expects, by the statistics of the last ANALYZE and the size that the table has now.
declare
  plan json;
begin
  execute 'explain (format json) select from pgsched.tasks t where ' || condition into plan;
  return (plan -> 0 -> 'Plan' ->> 'Plan Rows')::numeric::bigint;
end $$;
comment on function pgsched.about_rows is
  'For count_tasks: an estimate of how many tasks fit a condition, from the planner''s statistics.';
revoke execute on function pgsched.about_rows from public;

create function pgsched.count_tasks(queue text default null)
returns table (status text, number bigint, exact boolean)
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off as $$
#variable_conflict use_variable
-- Each index is read up to a cap: 100,000 entries where the index alone says it, fewer where rows are looked at. What is full
-- is estimated instead, and exact is false.
declare
  of_queue constant text := case when queue is null then '' else format(' and t.queue = %L', queue) end;
  names constant text := case when queue is null then 'pgsched.queues_in_use()' else format('(select %L::text)', queue) end;
  entries constant integer := 100000;
  looked_at constant integer := 10000;
  front constant integer := 1000;
  counted bigint;
  waiting bigint;
  running bigint;
  paused bigint;
  paused_running bigint;
  is_full boolean;
  is_exact boolean;
begin
  execute format(
    'select count(*) from (select from pgsched.tasks t where t.next_run_at is not null and t.enabled%s limit %s) c',
    of_queue, entries) into waiting;
  execute format(
    'select count(*) filter (where c.status = ''pending''), count(*) filter (where c.status = ''running''), count(*) = %2$s
     from (select t.status from pgsched.tasks t where not t.enabled%1$s limit %2$s) c',
    of_queue, looked_at) into paused, paused_running, is_full;
  is_exact := waiting < entries and not is_full;
  if waiting = entries then
    waiting := greatest(pgsched.about_rows('t.next_run_at is not null and t.enabled' || of_queue), entries);
  end if;
  -- What runs was due, and is in front of its queue and priority.
  execute format(
    'select coalesce(sum(f.running), 0), coalesce(bool_or(f.seen = %2$s), false)
     from %1$s as n(name) cross join generate_series(10, 1, -1) as p(priority)
     cross join lateral (
       select count(*) as seen, count(*) filter (where c.status = ''running'') as running
       from (
         select t.status from pgsched.tasks t
         where t.queue = n.name and t.priority = p.priority and t.next_run_at is not null and t.enabled
           and t.next_run_at <= now()
         order by t.next_run_at, t.id
         limit %2$s) c) f',
    names, front) into running, is_full;
  return query values
    ('pending', waiting - running + paused, is_exact and not is_full),
    ('running', running + paused_running, not is_full);

  -- Who waits for others has an edge for each; it goes when it is settled.
  execute format(
    'select count(*) from (select d.task_id from pgsched.dependencies d %s group by d.task_id order by d.task_id limit %s) c',
    case when queue is null then '' else format('join pgsched.tasks t on t.id = d.task_id and t.queue = %L', queue) end,
    entries) into counted;
  return query values ('blocked', counted, counted < entries);

  execute format(
    'select count(*) from (select from pgsched.tasks t where t.died_at is not null%s limit %s) c', of_queue, entries)
  into counted;
  is_exact := counted < entries;
  if not is_exact then
    counted := greatest(pgsched.about_rows('t.died_at is not null' || of_queue), entries);
  end if;
  return query values ('dead', counted, is_exact);

  -- By the index alone; the rows, which say more, are read where there are few.
  execute format(
    'select count(*) from (select from pgsched.tasks t where t.completed_at is not null%s limit %s) c', of_queue, looked_at)
  into counted;
  if counted < looked_at then
    execute 'select count(*) filter (where t.status = ''completed''), count(*) filter (where t.status = ''cancelled'')
       from pgsched.tasks t where t.completed_at is not null' || of_queue
    into waiting, counted;
    return query values ('completed', waiting, true), ('cancelled', counted, true);
  else
    return query values
      ('completed', pgsched.about_rows('t.status = ''completed''' || of_queue), false),
      ('cancelled', pgsched.about_rows('t.status = ''cancelled''' || of_queue), false);
  end if;
end $$;
comment on function pgsched.count_tasks is
  'How many tasks are in each status. exact: counted by an index; otherwise estimated from the planner''s statistics, since there are too many to count.
queue: In this queue; null: in all.';

create function pgsched.upcoming(
  within interval default '24:00:00', max_rows integer default 1000, queue text default null,
  after_time timestamptz default null, after_id bigint default null)
returns table (
  run_at timestamptz, task_id bigint, task_type text, task_name text, queue_name text, priority integer,
  schedule_type text, cron_expression text, repeat_interval interval, tenant_id text, user_id text)
language sql stable as $$
-- By the due clock: one probe for each queue and priority, which ends at the first row behind the time.
select u.next_run_at, u.id, t.task_type::text, t.task_name::text, t.queue::text, t.priority::integer,
  t.schedule_type::text, t.cron_expression::text, t.repeat_interval::interval, t.tenant_id::text, t.user_id::text
from (
  select f.next_run_at, f.id
  from pgsched.queues_in_use() as n(name)
  cross join generate_series(10, 1, -1) as p(priority)
  cross join lateral (
    select t.next_run_at, t.id
    from pgsched.tasks t
    where t.queue = n.name and t.priority = p.priority and t.next_run_at is not null and t.enabled
      and t.next_run_at > now() and t.next_run_at <= now() + upcoming.within
      and (upcoming.after_time is null
        or (t.next_run_at, t.id) > (upcoming.after_time, coalesce(upcoming.after_id, 9223372036854775807)))
    order by t.next_run_at, t.id
    limit upcoming.max_rows
  ) f
  where upcoming.queue is null or n.name = upcoming.queue
  order by f.next_run_at, f.id
  limit upcoming.max_rows
) u
cross join lateral (select t.* from pgsched.tasks t where t.id = u.id offset 0) t  -- by its id, whatever the planner expects
order by u.next_run_at, u.id
$$;
comment on function pgsched.upcoming is
  'What will run from now on until within has passed, the first one first: one-time tasks and schedules, each schedule once, by its next run. Not what is due already, waits for others or is paused.
within: How far to look ahead.
max_rows: Maximum number of rows.
queue: In this queue; null: in all.
after_time: With after_id, the run_at and task_id of the last row of the page before: the next page.
after_id: As after_time.';

alter table pgsched.task_defaults add column cost integer
  constraint cost_must_be_between_1_and_1000000 check (cost between 1 and 1000000);
comment on column pgsched.task_defaults.cost is 'For how many starts a task counts by the rate of its queue; null: for one.';
comment on constraint cost_must_be_between_1_and_1000000 on pgsched.task_defaults is 'A start counts for one at least.';

create function pgsched.cost_of(task_type text, queue text) returns integer
language sql stable as $$
select coalesce(
  (select d.cost from pgsched.task_defaults d where d.kind = 'handler' and d.name = cost_of.task_type),
  (select d.cost from pgsched.task_defaults d where d.kind = 'queue' and d.name = cost_of.queue), 1)
$$;
comment on function pgsched.cost_of is
  'For claims: for how many starts a task of a type counts in a queue with a rate, by its handler, else by the queue.
task_type: The type.
queue: The queue.';

create or replace function pgsched.claim_queue(
  name text, worker uuid, lease double precision, task_types text[], passed_over bigint[], room integer,
  most_bytes bigint, waits boolean, looks_only boolean
) returns table (
  asked text, again double precision, held_back boolean, noted timestamptz, task pgsched.tasks, lease_expired boolean,
  size bigint
)
language plpgsql as $$
#variable_conflict use_variable
-- Claims up to `room` due rows of one queue, and no more than its limits allow. Last comes a row without a task that says
-- when it makes sense to ask again: `again` in seconds (0: at once; null: when something becomes due), whether a limit of
-- concurrency holds rows back until others end, and as when the starts of this claim were noted. `waits`: for a moment, when
-- somebody else has locked the queue; null: it was asked a moment ago. `looks_only`: it claims nothing, and returns what it would.
declare
  queue pgsched.queues;
  moment timestamptz;
  span interval;
  horizon timestamptz;
  bucket interval;
  concurrency integer;
  per_key integer;
  rate integer;
  rate_per_key integer;
  free integer := room;
  full_up boolean := false;
  oldest timestamptz;
  number integer;
  ids bigint[];
  taken integer;
  locked bigint[];
  tokens integer;
  weighs boolean := false;
  picked integer;
  is_cut boolean := false;
begin
  asked := name;
  held_back := false;
  select * into queue from pgsched.queues q where q.name = claim_queue.name;
  if queue.apart then
    select * into queue from pgsched.queues q where q.name = claim_queue.name for no key update skip locked;
    if not found then
      -- Somebody else is claiming from it, and is done in a moment; or edits it, and takes as long as he likes.
      if not waits then
        again := 0.003;
        return next;
        return;
      end if;
      begin
        perform set_config('lock_timeout', '30ms', true);
        select * into queue from pgsched.queues q where q.name = claim_queue.name for no key update;
      exception when lock_not_available then
        again := 0.003;
        return next;
        return;
      end;
    end if;
  end if;
  if queue.paused then
    return next;
    return;
  end if;
  -- Not now(): the claim that held the row before this one began later than it was begun.
  moment := clock_timestamp();
  concurrency := (queue.limits ->> 'concurrency')::integer;
  per_key := (queue.limits ->> 'concurrency_per_key')::integer;
  rate := (queue.limits ->> 'rate')::integer;
  rate_per_key := (queue.limits ->> 'rate_per_key')::integer;

  if concurrency is not null or per_key is not null then
    if queue.limits_changed_at > moment - interval '2 seconds' then
      perform pgsched.adopt_slots(name);
    end if;
    delete from pgsched.slots s
    where s.queue = name and not exists (
      select from pgsched.tasks t
      where t.id = any(array[s.task_id]) and t.fencing_token = s.fencing_token and t.status = 'running'
        and t.locked_until >= now());
  end if;
  if concurrency is not null then
    select concurrency - count(*) into number from pgsched.slots s where s.queue = name;
    if number <= 0 then
      held_back := true;
      return next;
      return;
    end if;
    full_up := number <= free;
    free := least(free, number);
  end if;
  if rate is not null or rate_per_key is not null then
    span := make_interval(secs => extract(epoch from coalesce(queue.limits ->> 'per', '1 second')::interval));
    -- A handler begins some milliseconds after its claim, sooner or later: so much longer is the window.
    horizon := moment - greatest(span * 1.01, span + interval '10 milliseconds');
    bucket := span / 500;
    if random() < 0.01 then
      delete from pgsched.starts s where s.queue = name and s.at <= horizon;
    end if;
  end if;
  if rate is not null then
    delete from pgsched.starts s where s.queue = name and s.key = '' and s.at <= horizon;
    select rate - coalesce(sum(s.number), 0), min(s.at) into number, oldest
    from pgsched.starts s where s.queue = name and s.key = '' and s.at > horizon;
    if number <= 0 then
      again := extract(epoch from oldest - horizon);
      return next;
      return;
    end if;
    if number <= free then
      full_up := false;
      again := extract(epoch from coalesce(oldest, moment) - horizon);
    end if;
    free := least(free, number);
    tokens := number;
  end if;

  if room = 0 then
    -- Only to know whether there is something.
    again := case when exists (
      select from generate_series(10, 1, -1) as p(priority)
      cross join lateral (
        select from pgsched.tasks t
        where t.queue = name and t.priority = p.priority and t.next_run_at is not null and t.enabled
          and t.next_run_at <= now() and (t.locked_until is null or t.locked_until < now())
          and t.task_type = any(task_types) and t.id <> all(passed_over)
        order by t.next_run_at
        limit 1) t) then 0 end;
    return next;
    return;
  end if;
  if per_key is not null or rate_per_key is not null then
    select p.ids, p.held_back into ids, held_back
    from pgsched.pick_keyed(
      name, task_types, passed_over, free, per_key, rate_per_key, horizon, queue.ageing, queue.ordering = 'lifo') p;
  elsif queue.ageing is not null then
    ids := array(
      select c.id
      from (
        select t.id, t.next_run_at,
          p.priority + floor(extract(epoch from now() - t.next_run_at) / extract(epoch from queue.ageing)) as weight
        from generate_series(10, 1, -1) as p(priority)
        cross join lateral (
          select t.id, t.next_run_at
          from pgsched.tasks t
          where t.queue = name and t.priority = p.priority and t.next_run_at is not null and t.enabled
            and t.next_run_at <= now() and (t.locked_until is null or t.locked_until < now())
            and t.task_type = any(task_types) and t.id <> all(passed_over)
          order by t.next_run_at, t.id
          limit free) t
      ) c
      order by c.weight desc, c.next_run_at, c.id
      limit free);
  elsif queue.ordering = 'lifo' then
    ids := array(
      select t.id
      from generate_series(10, 1, -1) as p(priority)
      cross join lateral (
        select t.id
        from pgsched.tasks t
        where t.queue = name and t.priority = p.priority and t.next_run_at is not null and t.enabled
          and t.next_run_at <= now() and (t.locked_until is null or t.locked_until < now())
          and t.task_type = any(task_types) and t.id <> all(passed_over)
        order by t.next_run_at desc, t.id desc
        limit free
        for no key update skip locked) t
      limit free);
  else
    ids := array(
      select t.id
      from generate_series(10, 1, -1) as p(priority)
      cross join lateral (
        select t.id
        from pgsched.tasks t
        where t.queue = name and t.priority = p.priority and t.next_run_at is not null and t.enabled
          and t.next_run_at <= now() and (t.locked_until is null or t.locked_until < now())
          and t.task_type = any(task_types) and t.id <> all(passed_over)
        order by t.next_run_at, t.id
        limit free
        for no key update skip locked) t
      limit free);
  end if;

  if (rate is not null or rate_per_key is not null) and cardinality(ids) > 0 then
    weighs := exists (select from pgsched.task_defaults d where d.cost is not null);
  end if;
  if weighs then
    -- In their order, until one costs more than is left. What costs more than a whole rate costs all of it.
    picked := cardinality(ids);
    ids := array(
      select o.id
      from (
        select k.id, k.place, sum(least(k.cost, rate)) over (order by k.place) as spent
        from (
          select c.id, c.place, c.key, c.cost,
            sum(least(c.cost, rate_per_key)) over (partition by c.key order by c.place) as spent_of_key
          from (
            select p.id, p.place, t.concurrency_key::text as key, pgsched.cost_of(t.task_type, name) as cost
            from unnest(ids) with ordinality as p(id, place)
            join pgsched.tasks t on t.id = any(array[p.id])
          ) c
        ) k
        where rate_per_key is null or k.key is null or k.spent_of_key <= rate_per_key - (
          select coalesce(sum(s.number), 0) from pgsched.starts s
          where s.queue = name and s.key = k.key and s.at > horizon)
      ) o
      where rate is null or o.spent <= tokens
      order by o.place);
    is_cut := cardinality(ids) < picked;
  end if;
  if looks_only then
    return query
    select name, null::double precision, null::boolean, null::timestamptz, t, false, 0::bigint
    from unnest(ids) with ordinality as p(id, place) join pgsched.tasks t on t.id = any(array[p.id])
    order by p.place;
    return next;
    return;
  end if;
  return query
  with fitting as materialized (
    -- As many as fit into so many bytes of payload, but one at least.
    select * from (
      select t.*, sum(t.bytes) over (order by p.place) - t.bytes as before
      from unnest(ids) with ordinality as p(id, place)
      cross join lateral (
        select t.id, t.locked_by, t.fencing_token, t.attempts, t.started_at,
          t.locked_by is null or t.unbegun_token is distinct from t.fencing_token as counts,
          case when pg_column_compression(t.payload) is null then pg_column_size(t.payload)
            else octet_length(t.payload::text) end as bytes
        from pgsched.tasks t
        where t.id = any(array[p.id]) and t.queue = name and t.next_run_at is not null and t.enabled
          and (t.locked_until is null or t.locked_until < now())
        for no key update skip locked) t
    ) f
    where f.before < most_bytes
  ),
  lost as (
    insert into pgsched.executions (
      task_id, task_type, queue, attempt, fencing_token, scheduled_for, worker_id, status, started_at, finished_at,
      duration_ms, error)
    select t.id, t.task_type, t.queue, f.attempts, f.fencing_token, t.scheduled_for, f.locked_by, 'lost',
      f.started_at, now(), extract(epoch from now() - f.started_at) * 1000,
      'the lease of worker ' || f.locked_by || ' ran out'
    from fitting f join pgsched.tasks t on t.id = any(array[f.id])
    where f.locked_by is not null and f.counts
  ),
  claimed as (
    update pgsched.tasks t
    set status = 'running', locked_by = claim_queue.worker, locked_until = now() + claim_queue.lease * interval '1 second',
      attempts = t.attempts + f.counts::integer, fencing_token = greatest(nextval('pgsched.fencing_tokens'), t.fencing_token + 1), started_at = now()
    from fitting f
    where t.id = any(array[f.id])
    returning t as task, t.id, t.fencing_token, coalesce(t.concurrency_key::text, '') as key, f.locked_by is not null as expired,
      f.bytes, case when weighs then pgsched.cost_of(t.task_type, name) else 1 end as cost
  ),
  occupied as (
    insert into pgsched.slots as s (queue, key, task_id, fencing_token)
    select name, c.key, c.id, c.fencing_token from claimed c
    where concurrency is not null or per_key is not null
    on conflict on constraint slots_pkey do update set fencing_token = excluded.fencing_token
  ),
  started as (
    insert into pgsched.starts as s (queue, key, since, at, number)
    select name, k.key, date_bin(bucket, moment, timestamptz '2000-01-01 00:00:00+00'), moment, k.number
    from (
      select '' as key, sum(least(c.cost, rate))::integer as number from claimed c
      where rate is not null having count(*) > 0
      union all
      select c.key, sum(least(c.cost, rate_per_key))::integer from claimed c
      where rate_per_key is not null and c.key <> '' group by c.key
    ) k
    on conflict on constraint starts_pkey do update
      set at = greatest(s.at, excluded.at), number = s.number + excluded.number
  )
  select name, null::double precision, null::boolean, null::timestamptz, c.task, c.expired, c.bytes::bigint from claimed c;
  get diagnostics taken = row_count;

  if taken < cardinality(ids) and waits is not null
    and (per_key is not null or rate_per_key is not null or queue.ageing is not null) then
    -- These were picked without a lock. What somebody else has locked must not be in the way of what comes behind it.
    locked := array(
      with near as materialized (
        (select t.id
         from pgsched.tasks t
         where t.queue = name and t.next_run_at is not null and t.enabled and t.next_run_at <= now()
           and (t.locked_until is null or t.locked_until < now())
         order by t.priority desc, t.next_run_at, t.id
         limit 500)
        union
        select unnest(ids)
      )
      select n.id from near n
      where n.id not in (
        select t.id from pgsched.tasks t where t.id in (select o.id from near o) for no key update skip locked));
    if locked && ids then
      return query
      select * from pgsched.claim_queue(
        name, worker, lease, task_types, passed_over || locked, room - taken, most_bytes, null, looks_only);
      return;
    end if;
  end if;
  if taken < cardinality(ids) then
    again := 0;   -- others were in the way, or the payloads were large
    held_back := false;
  elsif is_cut then
    -- The next one costs more than is left: asked again when the first start leaves the window.
    select coalesce(extract(epoch from min(s.at) - horizon), 0) into again
    from pgsched.starts s where s.queue = name and s.at > horizon;
    held_back := false;
  elsif taken < free then
    again := null;
    if held_back and rate_per_key is not null then
      select extract(epoch from min(s.at) - horizon) into again
      from pgsched.starts s where s.queue = name and s.key > '' and s.at > horizon;
    end if;
    held_back := held_back and per_key is not null;
  else
    held_back := full_up;
    if not full_up then
      again := coalesce(again, 0);   -- there was room for no more
    end if;
  end if;
  if taken > 0 and (rate is not null or rate_per_key is not null) then
    noted := moment;
  end if;
  return next;
end $$;
