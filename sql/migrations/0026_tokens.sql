-- Works with programs of version 12 of the schema and later.
--
-- Fencing tokens come from one sequence, drawn when a row is locked: they grow with every claim of a row, also when the
-- transaction that had locked it is lost and nothing of it was written. The token of the row, plus one, is a bound that
-- claims of older programs may have passed.
create sequence pgsched.fencing_tokens as bigint;
alter sequence pgsched.fencing_tokens owned by pgsched.tasks.fencing_token;
select setval('pgsched.fencing_tokens', coalesce(max(t.fencing_token), 0) + 1, false)
from pgsched.tasks t
where t.schedule_type <> 'one_time';
comment on column pgsched.tasks.fencing_token is
  'Grows with every claim and never goes back: drawn from pgsched.fencing_tokens.';

-- A worker may lock a row and start its handler before it writes anything. What kills the worker then leaves no trace but
-- this one: the row is marked with a transaction that was lost.
create function pgsched.lock_was_lost(locker xid) returns boolean
language sql stable parallel safe as $$
  -- The low half of a number of 64 bits is known. What is not below the snapshot's next one is of the round before, or
  -- began after the snapshot and goes on. A status that is too old to be known counts as lost: the row is leased then.
  select case
    when locker = '0' or x.number - x.next between 0 and 2147483647 then false
    when x.number < x.next then coalesce(pg_xact_status(x.number::text::xid8) = 'aborted', true)
    else coalesce(pg_xact_status((x.number - 4294967296)::text::xid8) = 'aborted', true) end
  from (
    select s.next, (s.next & -4294967296) | locker::text::bigint as number
    from (select pg_snapshot_xmax(pg_current_snapshot())::text::bigint as next) s) x
$$;
comment on function pgsched.lock_was_lost is
  'For workers: whether the transaction that locked a row (its xmax) ended without being committed.';

-- Whoever claims tasks draws tokens.
do $$
declare
  one record;
begin
  for one in
    select distinct case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end as grantee
    from pg_class c
    cross join lateral aclexplode(c.relacl) a
    where c.oid = 'pgsched.tasks'::regclass and a.privilege_type = 'UPDATE' and a.grantee <> c.relowner
  loop
    execute format('grant usage on sequence pgsched.fencing_tokens to %s', one.grantee);
  end loop;
end $$;

create or replace function pgsched.claim_queue(name text, worker uuid, lease double precision, task_types text[], passed_over bigint[], room integer, most_bytes bigint, waits boolean, looks_only boolean)
returns table (asked text, again double precision, held_back boolean, noted timestamp with time zone, task pgsched.tasks, lease_expired boolean, size bigint)
language plpgsql
as $$
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
      attempts = t.attempts + f.counts::integer, fencing_token = greatest(nextval('pgsched.fencing_tokens'), t.fencing_token + 1), started_at = now()
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

create or replace function pgsched.cancel(id bigint)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  task pgsched.tasks;
  children bigint[];
  child bigint;
begin
  -- A group's unfinished children first, and all of them locked before the group, as their finishes do it.
  select t.fired into children from pgsched.tasks t
  where t.id = cancel.id and t.status in ('pending', 'blocked', 'running');
  if children is not null then
    perform from pgsched.tasks t where t.id = any(children) order by t.id for no key update;
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
  if task.status = 'running' then
    -- Not now(): the claim may have been made while this transaction waited for the row.
    insert into pgsched.executions (
      task_id, task_type, queue, attempt, fencing_token, scheduled_for, worker_id, status, started_at, finished_at,
      duration_ms, error)
    select task.id, task.task_type, task.queue, task.attempts, task.fencing_token, task.scheduled_for, task.locked_by,
      'cancelled', task.started_at, ended, extract(epoch from ended - task.started_at) * 1000, 'cancelled while running'
    from (select clock_timestamp() as ended) clock;
    perform pg_notify('pgsched_cancel', task.id::text);
  end if;
  perform pgsched.tell_cancelled(task);
  if task.observed then
    perform pgsched.settle(array[task.id]);
  end if;
end $$;
