-- Limits that hold across all workers, ageing, and workers that serve queues by pattern.
--
-- A queue with limits or ageing is `apart`: the common claim passes it by, and claim_apart() claims from it while it holds
-- the queue's row, so that claims of one such queue come one after the other and each counts what the one before it took.
-- What runs is counted by `slots`, a row a claim. A slot is good for as long as its task has the fencing token of that
-- claim, is running and has a lease; whoever claims next throws the others away. So a finish has nothing to do, and a worker
-- that died gives its slots back when its leases run out.

alter table pgsched.queues
  add column ageing interval
    constraint ageing_must_be_between_1_second_and_1000_years
    check (ageing between interval '1 second' and interval '1000 years' and pgsched.is_forward(ageing)),
  add column limits_changed_at timestamptz,
  add column apart boolean generated always as (limits <> '{}' or ageing is not null) stored,
  add constraint ageing_needs_the_ordering_fifo check (ageing is null or ordering = 'fifo');
comment on column pgsched.queues.name is 'The queue.';
comment on column pgsched.queues.paused is 'True: nothing is claimed from it; what runs goes on.';
comment on column pgsched.queues.ordering is 'Within a priority the row that is due longest comes first (fifo) or last (lifo).';
comment on column pgsched.queues.limits is 'What may run at once and how much may start in a time, over all workers.';
comment on column pgsched.queues.ageing is 'A row that has waited so long counts as one priority higher, for each such span.';
comment on column pgsched.queues.limits_changed_at is 'When limits last changed.';
comment on column pgsched.queues.apart is 'It has limits or ageing, and a claim of its own.';

create table pgsched.slots (
  queue text not null,
  key text not null,
  task_id bigint not null,
  fencing_token bigint not null,
  primary key (queue, key, task_id)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
comment on table pgsched.slots is 'What runs of queues with a limit of concurrency, each claim with its fencing token.';

create table pgsched.starts (
  queue text not null,
  key text not null,
  since timestamptz not null,
  at timestamptz not null,
  number integer not null,
  primary key (queue, key, since)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
comment on table pgsched.starts is 'How much was started of queues with a limit of rate, and when.';

-- Unlogged: what a crash empties begins again with the first key.
create unlogged table pgsched.turns (
  queue text primary key,
  key text not null,
  roamed_priority smallint,
  roamed_at timestamptz,
  roamed_id bigint
) with (fillfactor = 50);
comment on table pgsched.turns is 'Which key of a queue with limits per key was served last.';

-- The due clock of each key. Rows without a key are not in it: they cost nothing.
create index tasks_keyed on pgsched.tasks (queue, concurrency_key, priority desc, next_run_at, id)
  where next_run_at is not null and enabled and concurrency_key is not null;

create function pgsched.limits_problem(limits jsonb) returns text
language plpgsql stable strict as $$
-- The rule that limits of a queue break, or null.
declare
  name text;
  value jsonb;
begin
  if jsonb_typeof(limits) <> 'object' then
    return 'must be a JSON object, as {"concurrency": 3}';
  end if;
  for name, value in select * from jsonb_each(limits) loop
    if name in ('concurrency', 'concurrency_per_key', 'rate', 'rate_per_key') then
      if jsonb_typeof(value) <> 'number' or value::text !~ '^\d{1,7}$' or value::text::integer not between 1 and 1000000 then
        return format('%s must be a whole number between 1 and 1000000, got %s', name, left(value::text, 100));
      end if;
    elsif name = 'per' then
      begin
        if jsonb_typeof(value) <> 'string'
          or (value #>> '{}')::interval not between interval '100 milliseconds' and interval '31 days' then
          return format('per must be between 100 milliseconds and 31 days, got %s', left(value::text, 100));
        end if;
      exception when invalid_datetime_format or datetime_field_overflow or interval_field_overflow then
        return format('per must be an interval, as "1 second", got %s', left(value::text, 100));
      end;
      if not limits ?| array['rate', 'rate_per_key'] then
        return 'per is the time of a rate: it needs rate or rate_per_key';
      end if;
    else
      return format('%L is no limit; there are concurrency, concurrency_per_key, rate, rate_per_key and per', left(name, 100));
    end if;
  end loop;
  return null;
end $$;
comment on function pgsched.limits_problem is 'The rule that the limits of a queue break, or null.';

create function pgsched.check_limits() returns trigger
language plpgsql as $$
declare
  problem text := pgsched.limits_problem(new.limits);
begin
  if problem is not null then
    raise invalid_parameter_value using message = format('limits of queue %L: %s', new.name, problem),
      column = 'limits', table = 'queues', schema = 'pgsched';
  end if;
  new.limits_changed_at := clock_timestamp();
  return new;
end $$;
create trigger check_limits before insert or update of limits on pgsched.queues
  for each row execute function pgsched.check_limits();

create function pgsched.adopt_slots(name text) returns void
language sql as $$
-- What runs already, claimed before there were limits, counts too.
insert into pgsched.slots as s (queue, key, task_id, fencing_token)
select t.queue, coalesce(t.concurrency_key, ''), t.id, t.fencing_token
from pgsched.tasks t
where t.queue = adopt_slots.name and t.next_run_at is not null and t.enabled and t.next_run_at <= now()
  and t.locked_until >= now()
on conflict (queue, key, task_id) do update set fencing_token = excluded.fencing_token
  where s.fencing_token <> excluded.fencing_token
$$;

create function pgsched.announce_queue() returns trigger
language plpgsql as $$
-- Tells every worker that the way to claim from a queue may have changed.
begin
  if tg_op <> 'DELETE' and new.limits ?| array['concurrency', 'concurrency_per_key'] then
    perform pgsched.adopt_slots(new.name);
  end if;
  perform pg_notify('pgsched_queues', case when tg_op = 'DELETE' then old.name else new.name end);
  return null;
end $$;
create trigger announce after insert or delete or update of limits, ageing, ordering on pgsched.queues
  for each row execute function pgsched.announce_queue();

create function pgsched.limit_queue(
  name text,
  concurrency integer default null,
  concurrency_per_key integer default null,
  rate integer default null,
  rate_per_key integer default null,
  per interval default '1 second'
) returns void
language plpgsql as $$
#variable_conflict use_column
begin
  if num_nonnulls(limit_queue.concurrency, limit_queue.concurrency_per_key, limit_queue.rate, limit_queue.rate_per_key) = 0 then
    raise invalid_parameter_value using
      message = format('limits of queue %L: give one at least; unlimit_queue takes them away', limit_queue.name);
  end if;
  insert into pgsched.queues as q (name, limits)
  values (limit_queue.name, jsonb_strip_nulls(jsonb_build_object(
    'concurrency', limit_queue.concurrency, 'concurrency_per_key', limit_queue.concurrency_per_key,
    'rate', limit_queue.rate, 'rate_per_key', limit_queue.rate_per_key,
    'per', case when num_nonnulls(limit_queue.rate, limit_queue.rate_per_key) > 0 then limit_queue.per end)))
  on conflict (name) do update set limits = excluded.limits, updated_at = now();
end $$;
comment on function pgsched.limit_queue is
  'Limits a queue over all workers, instead of the limits it had: so many running at once, so many starts in a time; of the whole queue, of each concurrency_key.';

create function pgsched.unlimit_queue(name text) returns boolean
language sql as $$
with changed as (
  update pgsched.queues q set limits = '{}', updated_at = now()
  where q.name = unlimit_queue.name and q.limits <> '{}'
  returning q.name
)
select exists (select from changed)
$$;
comment on function pgsched.unlimit_queue is 'Takes the limits of a queue away. True if it had some.';

-- Claiming.

create function pgsched.due_of_keys(
  name text, task_types text[], keys text[], rooms integer[], priorities smallint[], ageing interval, lifo boolean)
returns table (place bigint, id bigint, round bigint)
language sql stable rows 10 as $$
-- The due rows of some keys, of each key so many as it has room, the first one in round 1.
select k.place, c.id, row_number() over (partition by k.place order by c.weight desc, c.turn, c.id)
from unnest(due_of_keys.keys, due_of_keys.rooms) with ordinality as k(key, room, place)
cross join lateral (
  select f.id, f.weight, f.turn
  from (
    select t.id, extract(epoch from t.next_run_at) * case when lifo then -1 else 1 end as turn,
      p.priority + coalesce(floor(extract(epoch from now() - t.next_run_at) / extract(epoch from ageing)), 0) as weight
    from unnest(priorities) as p(priority)
    cross join lateral (
      select * from (
        select t.id, t.next_run_at
        from pgsched.tasks t
        where not lifo and t.queue = name and t.concurrency_key = k.key and t.priority = p.priority
          and t.next_run_at is not null and t.enabled and t.concurrency_key is not null and t.next_run_at <= now()
          and (t.locked_until is null or t.locked_until < now()) and t.task_type = any(task_types)
        order by t.next_run_at, t.id
        limit k.room) first_in
      union all
      select * from (
        select t.id, t.next_run_at
        from pgsched.tasks t
        where lifo and t.queue = name and t.concurrency_key = k.key and t.priority = p.priority
          and t.next_run_at is not null and t.enabled and t.concurrency_key is not null and t.next_run_at <= now()
          and (t.locked_until is null or t.locked_until < now()) and t.task_type = any(task_types)
        order by t.next_run_at desc, t.id desc
        limit k.room) last_in
    ) t
  ) f
  order by f.weight desc, f.turn, f.id
  limit k.room
) c
$$;

create function pgsched.key_rooms(
  name text, keys text[], per_key integer, rate_per_key integer, horizon timestamptz, most integer)
returns integer[]
language sql stable as $$
-- How many rows of each key may start now. Dead slots were thrown away before.
select array_agg(
  greatest(0, least(most,
    per_key - (select count(*) from pgsched.slots s where s.queue = name and s.key = k.key),
    rate_per_key - (select coalesce(sum(s.number), 0) from pgsched.starts s
                    where s.queue = name and s.key = k.key and s.at > horizon)))::integer
  order by k.place)
from unnest(keys) with ordinality as k(key, place)
$$;

create function pgsched.next_keys(name text, after text, number integer) returns text[]
language sql stable as $$
-- The keys that come next, due or not: one step of the index each, however many rows a key has.
with recursive walk as (
  (select t.concurrency_key::text as key
   from pgsched.tasks t
   where t.queue = name and t.concurrency_key > after and t.next_run_at is not null and t.enabled
     and t.concurrency_key is not null
   order by t.concurrency_key
   limit 1)
  union all
  select (
    select t.concurrency_key::text
    from pgsched.tasks t
    where t.queue = name and t.concurrency_key > walk.key and t.next_run_at is not null and t.enabled
      and t.concurrency_key is not null
    order by t.concurrency_key
    limit 1)
  from walk where walk.key is not null
)
select array(select w.key from walk w where w.key is not null limit number)
$$;

create function pgsched.pick_by_turns(
  name text, task_types text[], free integer, per_key integer, rate_per_key integer, horizon timestamptz,
  ageing interval, lifo boolean, out ids bigint[], out held_back boolean)
language plpgsql as $$
-- Up to `free` due rows of a queue with limits per key. The keys take turns, each claim begins after the key that was served
-- last. A row without a key has no limit of a key; all of them together take turns like one key.
declare
  few constant integer := 500;    -- so many due rows are looked through one by one
  step constant integer := 100;   -- keys that are looked at together
  longest constant integer := 1000;   -- keys that one claim looks at
  turn pgsched.turns;
  priorities smallint[];
  windowed integer;
  found_keys text[];
  keys text[] := '{}';
  rooms integer[] := '{}';
  keyless bigint[] := '{}';
  chunk text[];
  chunk_rooms integer[];
  looked_at integer := 0;
  visited text;
  wrapped boolean := false;
  last_place bigint;
begin
  ids := '{}';
  held_back := false;
  priorities := array(
    select p.priority
    from generate_series(10, 1, -1) as p(priority)
    cross join lateral (
      -- Ordered, so that it can be nothing but a probe of the index, whatever the statistics say.
      select from pgsched.tasks t
      where t.queue = name and t.priority = p.priority and t.next_run_at is not null and t.enabled
        and t.next_run_at <= now()
      order by t.next_run_at
      limit 1) t);
  if cardinality(priorities) = 0 then
    return;
  end if;
  select * into turn from pgsched.turns t where t.queue = name;
  turn.key := coalesce(turn.key, '');

  -- The first due rows. When they are all there are, their keys are all the keys that matter.
  select count(*), array_agg(distinct w.key) filter (where w.key is not null),
    coalesce((array_agg(w.id order by w.weight desc, w.turn, w.id) filter (where w.key is null))[1:free], '{}')
  into windowed, found_keys, keyless
  from (
    select d.id, d.concurrency_key as key, extract(epoch from d.next_run_at) * case when lifo then -1 else 1 end as turn,
      p.priority + coalesce(floor(extract(epoch from now() - d.next_run_at) / extract(epoch from ageing)), 0) as weight
    from unnest(priorities) as p(priority)
    cross join lateral (
      select t.id, t.concurrency_key::text, t.next_run_at
      from pgsched.tasks t
      where t.queue = name and t.priority = p.priority and t.next_run_at is not null and t.enabled
        and t.next_run_at <= now() and (t.locked_until is null or t.locked_until < now())
        and t.task_type = any(task_types)
      order by t.next_run_at, t.id
      limit few
    ) d
    limit few
  ) w;
  if windowed = 0 then
    return;
  end if;

  if windowed < few then
    keys := array(select k from unnest(found_keys) k order by k <= turn.key, k);
    rooms := pgsched.key_rooms(name, keys, per_key, rate_per_key, horizon, free);
    visited := keys[cardinality(keys)];
  else
    visited := turn.key;
    loop
      chunk := pgsched.next_keys(name, visited, step);
      if wrapped then
        chunk := array(select k from unnest(chunk) k where k <= turn.key order by k);
      end if;
      looked_at := looked_at + cardinality(chunk);
      if cardinality(chunk) > 0 then
        chunk_rooms := pgsched.key_rooms(name, chunk, per_key, rate_per_key, horizon, free);
        select keys || coalesce(array_agg(c.key order by c.place), '{}'),
          rooms || coalesce(array_agg(c.room order by c.place), '{}')
        into keys, rooms
        from (
          select c.key, c.room, c.place from unnest(chunk, chunk_rooms) with ordinality as c(key, room, place)
          where c.room > 0 and exists (
            select from pgsched.due_of_keys(name, task_types, array[c.key], array[1], priorities, ageing, lifo))
          limit free - cardinality(keys)) c;
        visited := chunk[cardinality(chunk)];
      end if;
      exit when cardinality(keys) >= free or looked_at >= longest;
      if cardinality(chunk) < step then
        exit when wrapped or turn.key = '';
        wrapped := true;
        visited := '';
      end if;
    end loop;
    if cardinality(keyless) = 0 then
      -- Rows without a key behind many that have one: each claim looks at the next thousand.
      with roamed as (
        select d.*, row_number() over () as place
        from unnest(priorities) as p(priority)
        cross join lateral (
          select t.priority::smallint, t.next_run_at::timestamptz, t.id,
            t.concurrency_key is null and (t.locked_until is null or t.locked_until < now())
              and t.task_type = any(task_types) as fits
          from pgsched.tasks t
          where t.queue = name and t.priority = p.priority and t.next_run_at is not null and t.enabled
            and t.next_run_at <= now()
            and (t.next_run_at, t.id) > (
              case when p.priority = turn.roamed_priority then turn.roamed_at else '-infinity' end,
              case when p.priority = turn.roamed_priority then turn.roamed_id else 0 end)
          order by t.next_run_at, t.id
          limit 2 * few
        ) d
        where p.priority <= coalesce(turn.roamed_priority, 10)
        limit 2 * few
      )
      select (array_agg(r.id order by r.place) filter (where r.fits))[1:free],
        (array_agg(r.priority order by r.place desc))[1], (array_agg(r.next_run_at order by r.place desc))[1],
        (array_agg(r.id order by r.place desc))[1]
      into keyless, turn.roamed_priority, turn.roamed_at, turn.roamed_id
      from roamed r
      having count(*) = 2 * few or count(*) filter (where r.fits) > 0;
      keyless := coalesce(keyless, '{}');
    end if;
  end if;

  select coalesce(array_agg(c.id order by c.round, c.place), '{}'),
    (array_agg(c.place order by c.round desc, c.place desc) filter (where c.place > 0))[1]
  into ids, last_place
  from (
    select r.id, r.round, r.place
    from (
      select d.id, d.round, d.place
      from pgsched.due_of_keys(name, task_types, keys, rooms, priorities, ageing, lifo) d
      union all
      select l.id, l.place, 0 from unnest(keyless) with ordinality as l(id, place)
    ) r
    order by r.round, r.place
    limit free
  ) c;
  held_back := cardinality(ids) < least(free, windowed);
  turn.queue := name;
  if windowed < few or cardinality(keys) >= free then
    visited := coalesce(keys[last_place], visited);
  end if;
  turn.key := coalesce(visited, turn.key);
  insert into pgsched.turns as t values (turn.*)
  on conflict (queue) do update set key = excluded.key, roamed_priority = excluded.roamed_priority,
    roamed_at = excluded.roamed_at, roamed_id = excluded.roamed_id;
end $$;

create function pgsched.claim_from(
  name text, worker uuid, lease double precision, task_types text[], room integer, most_bytes bigint)
returns table (
  asked text, again double precision, held_back boolean, noted timestamptz, task pgsched.tasks, lease_expired boolean,
  size bigint)
language plpgsql as $$
-- Claims up to `room` due rows of one queue, and no more than its limits allow. Last comes a row without a task that says
-- when it makes sense to ask again: `again` in seconds (0: at once; null: when something becomes due), whether a limit of
-- concurrency holds rows back until others end, and as when the starts of this claim were noted.
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
begin
  asked := name;
  held_back := false;
  select * into queue from pgsched.queues q where q.name = claim_from.name;
  if queue.apart then
    select * into queue from pgsched.queues q where q.name = claim_from.name for no key update skip locked;
    if not found then
      -- Somebody else is claiming from it, and is done in a moment; or edits it, and takes as long as he likes.
      begin
        perform set_config('lock_timeout', '30ms', true);
        select * into queue from pgsched.queues q where q.name = claim_from.name for no key update;
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
  end if;

  if room = 0 then
    -- Only to know whether there is something.
    again := case when exists (
      select from generate_series(10, 1, -1) as p(priority)
      cross join lateral (
        select from pgsched.tasks t
        where t.queue = name and t.priority = p.priority and t.next_run_at is not null and t.enabled
          and t.next_run_at <= now() and (t.locked_until is null or t.locked_until < now())
          and t.task_type = any(task_types)
        order by t.next_run_at
        limit 1) t) then 0 end;
    return next;
    return;
  end if;
  if per_key is not null or rate_per_key is not null then
    select p.ids, p.held_back into ids, held_back
    from pgsched.pick_by_turns(
      name, task_types, free, per_key, rate_per_key, horizon, queue.ageing, queue.ordering = 'lifo') p;
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
            and t.task_type = any(task_types)
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
          and t.task_type = any(task_types)
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
          and t.task_type = any(task_types)
        order by t.next_run_at, t.id
        limit free
        for no key update skip locked) t
      limit free);
  end if;

  return query
  with fitting as materialized (
    -- As many as fit into so many bytes of payload, but one at least.
    select * from (
      select t.*, sum(t.bytes) over (order by p.place) - t.bytes as before
      from unnest(ids) with ordinality as p(id, place)
      cross join lateral (
        select t.id, t.locked_by, t.fencing_token, t.attempts, t.started_at,
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
    where f.locked_by is not null
  ),
  claimed as (
    update pgsched.tasks t
    set status = 'running', locked_by = claim_from.worker, locked_until = now() + claim_from.lease * interval '1 second',
      attempts = t.attempts + 1, fencing_token = t.fencing_token + 1, started_at = now()
    from fitting f
    where t.id = any(array[f.id])
    returning t as task, t.id, t.fencing_token, coalesce(t.concurrency_key::text, '') as key, f.locked_by is not null as expired,
      f.bytes
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
      select '' as key, count(*)::integer as number from claimed c where rate is not null having count(*) > 0
      union all
      select c.key, count(*)::integer from claimed c where rate_per_key is not null and c.key <> '' group by c.key
    ) k
    on conflict on constraint starts_pkey do update
      set at = greatest(s.at, excluded.at), number = s.number + excluded.number
  )
  select name, null::double precision, null::boolean, null::timestamptz, c.task, c.expired, c.bytes::bigint from claimed c;
  get diagnostics taken = row_count;

  if taken < cardinality(ids) then
    again := 0;   -- others were in the way, or the payloads were large
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

create function pgsched.note_late_start(queue text, noted timestamptz, late double precision) returns void
language sql as $$
-- The starts of a claim that were noted as at `noted` happened up to so many seconds later: they count for longer.
update pgsched.starts s
set at = greatest(s.at, note_late_start.noted + late * interval '1 second')
where s.queue = note_late_start.queue and s.since = (
  select max(b.since) from pgsched.starts b where b.queue = note_late_start.queue and b.since <= note_late_start.noted)
$$;

create function pgsched.claim_apart(
  queues text[], rooms integer[], room integer, most_bytes bigint, worker uuid, lease double precision, task_types text[])
returns table (
  asked text, again double precision, held_back boolean, noted timestamptz, task pgsched.tasks, lease_expired boolean,
  size bigint)
language plpgsql as $$
-- Claims from several queues that are claimed apart, in their order, up to so many rows of each and of all.
declare
  answer record;
begin
  for place in 1..cardinality(queues) loop
    exit when most_bytes <= 0;
    for answer in
      select * from pgsched.claim_from(queues[place], worker, lease, task_types, least(rooms[place], room), most_bytes)
    loop
      asked := answer.asked;
      again := answer.again;
      held_back := answer.held_back;
      noted := answer.noted;
      task := answer.task;
      lease_expired := answer.lease_expired;
      size := answer.size;
      if answer.size is not null then
        room := room - 1;
        most_bytes := most_bytes - answer.size;
      end if;
      return next;
    end loop;
  end loop;
end $$;

-- Workers that serve queues by pattern.

alter table pgsched.workers add column patterns text[] not null default '{}';
comment on column pgsched.workers.patterns is 'Patterns of LIKE: the worker serves the queues that match one, too.';
