-- Works with programs of version 12 of the schema and later.
--
-- A claim that fails for one row fails for no other, and an attempt that never began is not counted.
--
-- A row that a worker holds in advance has the token of its claim in `unbegun_token`, until the worker has begun it. When its
-- lease runs out before, the next claim counts no attempt. Every claim raises the fencing token, also one of a program that
-- does not know this column: then the mark means nothing any more.

alter table pgsched.tasks add column unbegun_token bigint;
comment on column pgsched.tasks.unbegun_token is
  'The fencing_token of a claim that holds the task in advance: as long as it is the task''s, this attempt has not begun.';
alter table pgsched.archived_tasks add column unbegun_token bigint;
comment on column pgsched.archived_tasks.unbegun_token is
  'The fencing_token of a claim that holds the task in advance: as long as it is the task''s, this attempt has not begun.';

-- Claims of queues with limits pass over the rows that the worker has set aside. Earlier programs go on with claim_apart.

create function pgsched.due_by_keys(
  name text, task_types text[], passed_over bigint[], keys text[], rooms integer[], priorities smallint[],
  ageing interval, lifo boolean)
returns table (place bigint, id bigint, round bigint)
language sql stable rows 10 as $$
-- The due rows of some keys, of each key so many as it has room, the first one in round 1.
select k.place, c.id, row_number() over (partition by k.place order by c.weight desc, c.turn, c.id)
from unnest(due_by_keys.keys, due_by_keys.rooms) with ordinality as k(key, room, place)
cross join lateral (
  select f.id, f.weight, f.turn
  from (
    select t.id, extract(epoch from t.next_run_at) * case when due_by_keys.lifo then -1 else 1 end as turn,
      p.priority + coalesce(floor(extract(epoch from now() - t.next_run_at) / extract(epoch from due_by_keys.ageing)), 0) as weight
    from unnest(due_by_keys.priorities) as p(priority)
    cross join lateral (
      select * from (
        select t.id, t.next_run_at
        from pgsched.tasks t
        where not due_by_keys.lifo and t.queue = due_by_keys.name and t.concurrency_key = k.key and t.priority = p.priority
          and t.next_run_at is not null and t.enabled and t.concurrency_key is not null and t.next_run_at <= now()
          and (t.locked_until is null or t.locked_until < now()) and t.task_type = any(due_by_keys.task_types)
          and t.id <> all(due_by_keys.passed_over)
        order by t.next_run_at, t.id
        limit k.room) first_in
      union all
      select * from (
        select t.id, t.next_run_at
        from pgsched.tasks t
        where due_by_keys.lifo and t.queue = due_by_keys.name and t.concurrency_key = k.key and t.priority = p.priority
          and t.next_run_at is not null and t.enabled and t.concurrency_key is not null and t.next_run_at <= now()
          and (t.locked_until is null or t.locked_until < now()) and t.task_type = any(due_by_keys.task_types)
          and t.id <> all(due_by_keys.passed_over)
        order by t.next_run_at desc, t.id desc
        limit k.room) last_in
    ) t
  ) f
  order by f.weight desc, f.turn, f.id
  limit k.room
) c
$$;
comment on function pgsched.due_by_keys is
  'For workers: the due rows of some keys of a queue, of each as many as it has room for.';

create function pgsched.pick_keyed(
  name text, task_types text[], passed_over bigint[], free integer, per_key integer, rate_per_key integer,
  horizon timestamptz, ageing interval, lifo boolean, out ids bigint[], out held_back boolean)
language plpgsql as $$
#variable_conflict use_variable
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
        and t.task_type = any(task_types) and t.id <> all(passed_over)
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
            select from pgsched.due_by_keys(
              name, task_types, passed_over, array[c.key], array[1], priorities, ageing, lifo))
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
              and t.task_type = any(task_types) and t.id <> all(passed_over) as fits
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
      from pgsched.due_by_keys(name, task_types, passed_over, keys, rooms, priorities, ageing, lifo) d
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
comment on function pgsched.pick_keyed is
  'For workers: chooses due rows of a queue with limits per key; the keys take turns.';

create function pgsched.claim_queue(
  name text, worker uuid, lease double precision, task_types text[], passed_over bigint[], room integer, most_bytes bigint,
  waits boolean, looks_only boolean)
returns table (
  asked text, again double precision, held_back boolean, noted timestamptz, task pgsched.tasks, lease_expired boolean,
  size bigint)
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
      attempts = t.attempts + f.counts::integer, fencing_token = t.fencing_token + 1, started_at = now()
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
comment on function pgsched.claim_queue is
  'For workers: claims due rows of one queue with limits or ageing, as many as these allow; the last row says when to ask again.';

create function pgsched.claim_limited(
  queues text[], rooms integer[], room integer, most_bytes bigint, worker uuid, lease double precision, task_types text[],
  passed_over bigint[], looks_only boolean)
returns table (
  asked text, again double precision, held_back boolean, noted timestamptz, task pgsched.tasks, lease_expired boolean,
  size bigint)
language plpgsql as $$
#variable_conflict use_variable
-- Claims from several queues that are claimed apart, in their order, up to so many rows of each and of all. For queues that
-- somebody else has locked it waits for a moment, together.
declare
  began constant timestamptz := clock_timestamp();
  answer record;
begin
  for place in 1..cardinality(queues) loop
    exit when most_bytes <= 0;
    for answer in
      select * from pgsched.claim_queue(
        queues[place], worker, lease, task_types, passed_over, least(rooms[place], room), most_bytes,
        clock_timestamp() < began + interval '20 milliseconds', looks_only)
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
comment on function pgsched.claim_limited is
  'For workers: claims from several queues with limits or ageing, in their order, but for some tasks that it passes over.';

-- Which rows a claim cannot take.

create function pgsched.try_claims(ids bigint[], worker uuid)
returns table (id bigint, task_type text, queue text, state text, message text)
language plpgsql as $$
-- Claims each of these tasks by itself and takes it back: `state` is the SQLSTATE that it failed with, or null. A task that
-- is not due, or is somebody else's by now, is not returned.
#variable_conflict use_variable
declare
  one bigint;
  tried bigint;
  dropped boolean;
begin
  -- What would fail at the commit fails here.
  set constraints all immediate;
  foreach one in array ids loop
    select t.id, t.task_type, t.queue into id, task_type, queue
    from pgsched.tasks t
    where t.id = one and t.next_run_at is not null and t.enabled and t.next_run_at <= now()
      and (t.locked_until is null or t.locked_until < now());
    continue when not found;
    state := null;
    message := null;
    begin
      with due as (
        select t.id, t.locked_by, t.fencing_token, t.attempts, t.started_at,
          t.locked_by is null or t.unbegun_token is distinct from t.fencing_token as counts
        from pgsched.tasks t
        where t.id = one
        for no key update skip locked
      ),
      lost as (
        insert into pgsched.executions (
          task_id, task_type, queue, attempt, fencing_token, scheduled_for, worker_id, status, started_at, finished_at,
          duration_ms, error)
        select t.id, t.task_type, t.queue, due.attempts, due.fencing_token, t.scheduled_for, due.locked_by, 'lost',
          due.started_at, now(), extract(epoch from now() - due.started_at) * 1000,
          'the lease of worker ' || due.locked_by || ' ran out'
        from due join pgsched.tasks t on t.id = due.id
        where due.locked_by is not null and due.counts
      ),
      claimed as (
        update pgsched.tasks t
        set status = 'running', locked_by = try_claims.worker, locked_until = now() + interval '1 minute',
          attempts = t.attempts + due.counts::integer, fencing_token = t.fencing_token + 1, started_at = now()
        from due
        where t.id = due.id
        returning date_part('epoch', now() - t.next_run_at) as late, octet_length(t.payload::text) as bytes
      )
      select max(c.bytes), count(*) < (select count(*) from due) into tried, dropped from claimed c where c.late is not null;
      if dropped then
        raise triggered_action_exception using message = 'the update was dropped: a trigger of the table returns null for the row';
      end if;
      raise exception 'taken back' using errcode = 'PGSCH';
    exception
      when sqlstate 'PGSCH' then
        null;
      when others or assert_failure or query_canceled then
        get stacked diagnostics state = returned_sqlstate, message = message_text;
    end;
    return next;
  end loop;
end $$;
comment on function pgsched.try_claims is
  'For workers: which of these tasks can be claimed, and what the database says to the others.';

create function pgsched.bury_unclaimed(ids bigint[], errors text[])
returns table (id bigint, attempts integer, refused text)
language plpgsql as $$
-- Ends due tasks that cannot be claimed as dead, each by itself: `refused` is why one cannot be ended either, or null. A task
-- that is not due, or is somebody else's by now, is not returned.
#variable_conflict use_variable
declare
  task pgsched.tasks;
  noted boolean;
begin
  set constraints all immediate;
  for place in 1..cardinality(ids) loop
    -- Once more without the attempt that was lost, should that be what is refused.
    foreach noted in array array[true, false] loop
      begin
        refused := null;
        select * into task
        from pgsched.tasks t
        where t.id = ids[place] and t.next_run_at is not null and t.enabled and t.next_run_at <= now()
          and (t.locked_until is null or t.locked_until < now())
        for no key update skip locked;
        exit when not found;
        id := task.id;
        attempts := task.attempts;
        if noted and task.locked_by is not null and task.unbegun_token is distinct from task.fencing_token then
          insert into pgsched.executions (
            task_id, task_type, queue, attempt, fencing_token, scheduled_for, worker_id, status, started_at, finished_at,
            duration_ms, error)
          values (
            task.id, task.task_type, task.queue, task.attempts, task.fencing_token, task.scheduled_for, task.locked_by, 'lost',
            task.started_at, now(), extract(epoch from now() - task.started_at) * 1000,
            'the lease of worker ' || task.locked_by || ' ran out');
        end if;
        update pgsched.tasks t
        set status = 'dead', died_at = now(), next_run_at = null, completed_at = null, locked_by = null,
          locked_until = null, last_error = errors[place], updated_at = now()
        where t.id = task.id;
        if not found then
          raise triggered_action_exception using message = 'a trigger of the table drops that update, too';
        end if;
        if task.observed then
          perform pgsched.settle(array[task.id]);
        end if;
        if exists (select from pgsched.queues q where q.name = task.queue and q.events) then
          perform pg_notify('pgsched_events', json_build_object(
            'event', 'dead', 'id', task.id, 'task_type', task.task_type, 'queue', task.queue, 'attempt', task.attempts,
            'at', to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'duration', null,
            'error', left(split_part(errors[place], e'\n', 1), 500))::text);
        end if;
      exception
        when others or assert_failure then
          get stacked diagnostics refused = message_text;
      end;
      exit when refused is null or task.locked_by is null;
    end loop;
    if task.id is not null then
      return next;
    end if;
  end loop;
end $$;
comment on function pgsched.bury_unclaimed is
  'For workers: ends due tasks that the database lets nobody claim as dead, where that can be written.';

revoke execute on function
  pgsched.due_by_keys, pgsched.pick_keyed, pgsched.claim_queue, pgsched.claim_limited, pgsched.try_claims,
  pgsched.bury_unclaimed
from public;
