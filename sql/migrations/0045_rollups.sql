-- Works with programs of version 12 of the schema and later.
--
-- What the history says of types and of errors is counted once, by upkeep, into small tables: pages and programs read sums
-- instead of executions. Nothing of it is done by a task: no trigger, no column, no index of the history.

create table pgsched.type_counts (
  seconds integer not null,
  bucket timestamptz not null,
  task_type text not null,
  queue text not null,
  completed bigint not null default 0,
  failed bigint not null default 0,
  timed_out bigint not null default 0,
  cancelled bigint not null default 0,
  lost bigint not null default 0,
  snoozed bigint not null default 0,
  run_seconds double precision not null default 0,
  run_max double precision,
  run_bins smallint[] not null default '{}',
  run_counts bigint[] not null default '{}',
  wait_seconds double precision not null default 0,
  wait_max double precision,
  wait_bins smallint[] not null default '{}',
  wait_counts bigint[] not null default '{}',
  constraint type_counts_pkey primary key (seconds, bucket, task_type, queue)
) with (fillfactor = 70);
comment on table pgsched.type_counts is
  'Attempts that ended, by type, queue and time: counted from the history by upkeep, kept longer than it.';
comment on column pgsched.type_counts.seconds is 'How long the bucket is: 300 (kept 8 days), 3600 (15 days), 21600 (31 days) or 86400 (400 days).';
comment on column pgsched.type_counts.bucket is 'When it begins; attempts are counted by finished_at. Days are days of UTC.';
comment on column pgsched.type_counts.task_type is 'The type; empty: what was beyond 1,000 types and queues of a bucket.';
comment on column pgsched.type_counts.queue is 'The queue.';
comment on column pgsched.type_counts.completed is 'Attempts that completed.';
comment on column pgsched.type_counts.failed is 'Attempts that failed.';
comment on column pgsched.type_counts.timed_out is 'Attempts that timed out.';
comment on column pgsched.type_counts.cancelled is 'Attempts that were cancelled, or expired.';
comment on column pgsched.type_counts.lost is 'Attempts whose worker died or was cut off.';
comment on column pgsched.type_counts.snoozed is 'Attempts that put their task off without being counted.';
comment on column pgsched.type_counts.run_seconds is 'How long those that completed, failed or timed out took together.';
comment on column pgsched.type_counts.run_max is 'The longest of them, in seconds.';
comment on column pgsched.type_counts.run_bins is 'Which bins of pgsched.duration_bin their durations are in, in order.';
comment on column pgsched.type_counts.run_counts is 'How many are in each of these bins.';
comment on column pgsched.type_counts.wait_seconds is 'How long first attempts started after their scheduled_for, together.';
comment on column pgsched.type_counts.wait_max is 'The longest of these waits, in seconds.';
comment on column pgsched.type_counts.wait_bins is 'Which bins the waits are in, in order.';
comment on column pgsched.type_counts.wait_counts is 'How many are in each of these bins.';
comment on constraint type_counts_pkey on pgsched.type_counts is 'One row for each type and queue of a bucket.';

create table pgsched.error_groups (
  fingerprint text not null,
  exception text not null,
  message text not null,
  first_seen timestamptz not null,
  last_seen timestamptz not null,
  noted_at timestamptz not null default now(),
  constraint error_groups_pkey primary key (fingerprint)
);
comment on table pgsched.error_groups is
  'Errors that are the same but for what differs from task to task: numbers, ids, quoted texts, times.';
comment on column pgsched.error_groups.fingerprint is 'What names the group: a hash of exception and message.';
comment on column pgsched.error_groups.exception is 'The class of the exception; empty: it was none of a handler.';
comment on column pgsched.error_groups.message is 'The message with placeholders, cut at 300 characters.';
comment on column pgsched.error_groups.first_seen is 'When an attempt first failed with it, as far as it is kept: 90 days after the last time.';
comment on column pgsched.error_groups.last_seen is 'When one last did.';
comment on column pgsched.error_groups.noted_at is 'When the group was written: at most 500 new ones a day are, the rest is counted as other.';
comment on constraint error_groups_pkey on pgsched.error_groups is 'One row a group.';

create table pgsched.error_counts (
  seconds integer not null,
  bucket timestamptz not null,
  fingerprint text not null,
  task_type text not null,
  queue text not null,
  number bigint not null,
  first_seen timestamptz not null,
  last_seen timestamptz not null,
  task_id bigint,
  constraint error_counts_pkey primary key (seconds, bucket, fingerprint, task_type, queue)
);
comment on table pgsched.error_counts is 'Failed, timed out and lost attempts by error, type, queue and time: counted from the history by upkeep.';
comment on column pgsched.error_counts.seconds is 'How long the bucket is, as in pgsched.type_counts.';
comment on column pgsched.error_counts.bucket is 'When it begins.';
comment on column pgsched.error_counts.fingerprint is 'The group; other: what was beyond the most frequent ones.';
comment on column pgsched.error_counts.task_type is 'The type; empty for other.';
comment on column pgsched.error_counts.queue is 'The queue; empty for other.';
comment on column pgsched.error_counts.number is 'How many attempts.';
comment on column pgsched.error_counts.first_seen is 'When the first of them ended.';
comment on column pgsched.error_counts.last_seen is 'When the last of them ended.';
comment on column pgsched.error_counts.task_id is 'The task of one of them.';
comment on constraint error_counts_pkey on pgsched.error_counts is 'One row for each group, type and queue of a bucket.';

create table pgsched.roll_up_state (
  only_row boolean not null default true,
  next_at timestamptz not null default now(),
  worker_id uuid,
  counted_until timestamptz,
  fresh_from timestamptz,
  settled_until timestamptz[] not null default '{}',
  constraint roll_up_state_pkey primary key (only_row),
  constraint there_is_one_row check (only_row)
);
insert into pgsched.roll_up_state default values;
comment on table pgsched.roll_up_state is 'How far the history is counted. One row.';
comment on column pgsched.roll_up_state.only_row is 'True.';
comment on column pgsched.roll_up_state.next_at is 'When the next worker takes the turn.';
comment on column pgsched.roll_up_state.worker_id is 'The worker that took the last one.';
comment on column pgsched.roll_up_state.counted_until is 'What ended by then is counted, but for what was committed later. Null: nothing is.';
comment on column pgsched.roll_up_state.fresh_from is 'The bucket that the next turn counts first.';
comment on column pgsched.roll_up_state.settled_until is
  'Up to when it was counted again for what was committed late: 10 minutes, 2 hours and 2 days after.';
comment on constraint roll_up_state_pkey on pgsched.roll_up_state is 'One row.';
comment on constraint there_is_one_row on pgsched.roll_up_state is 'One row.';

create table pgsched.handler_versions (
  task_type text not null,
  since timestamptz not null,
  version text,
  code text,
  constraint handler_versions_pkey primary key (task_type, since)
);
comment on table pgsched.handler_versions is
  'When each version of a handler''s code became the newest one of the register; kept 400 days, the newest for ever.';
comment on column pgsched.handler_versions.task_type is 'The type.';
comment on column pgsched.handler_versions.since is 'When it did.';
comment on column pgsched.handler_versions.version is 'The version; null: the application names none.';
comment on column pgsched.handler_versions.code is 'What tells it from others.';
comment on constraint handler_versions_pkey on pgsched.handler_versions is 'One row a version.';

create function pgsched.note_version() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
  if tg_op = 'INSERT' or new.versions -> -1 ->> 'code' is distinct from old.versions -> -1 ->> 'code' then
    insert into pgsched.handler_versions (task_type, since, version, code)
    values (new.task_type, now(), new.versions -> -1 ->> 'version', new.versions -> -1 ->> 'code')
    on conflict on constraint handler_versions_pkey do update
      set version = excluded.version, code = excluded.code;
  end if;
  return null;
end $$;
comment on function pgsched.note_version is 'For the schema: keeps when a version of a handler''s code became the newest.';
create trigger note_version after insert or update of versions on pgsched.handlers
  for each row when (new.versions <> '[]') execute function pgsched.note_version();

insert into pgsched.handler_versions (task_type, since, version, code)
select distinct on (h.task_type, (v.value ->> 'since')::timestamptz)
  h.task_type, (v.value ->> 'since')::timestamptz, v.value ->> 'version', v.value ->> 'code'
from pgsched.handlers h cross join lateral jsonb_array_elements(h.versions) with ordinality as v(value, place)
order by 1, 2, v.place desc;

create function pgsched.duration_bin(seconds double precision) returns smallint
language sql immutable parallel safe
return case when seconds is null then null when seconds > 9.765625e-7 then least(ceil(4 * ln(seconds * 1000) / ln(2::double precision)) + 40, 170)::smallint else 0::smallint end;
comment on function pgsched.duration_bin is
  'The bin of a duration in the histograms of pgsched.type_counts: bin n is longer than pgsched.bin_seconds(n - 1), and no longer than pgsched.bin_seconds(n).';

create function pgsched.bin_seconds(bin integer) returns double precision
language sql immutable parallel safe
return power(2::double precision, (bin - 40) / 4.0::double precision) / 1000;
comment on function pgsched.bin_seconds is
  'The upper bound of a bin in seconds: four bins for each doubling, from 1 microsecond (0) to 70 days (170), which has all longer ones, too.';

create function pgsched.bin_quantile(bins integer[], counts bigint[], share double precision, longest double precision)
  returns double precision
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp as $$
  -- The middle (by ratio) of the bin that the quantile is in, so 9 % too high or too low at the most.
  select least(pgsched.bin_seconds(b.bin) / power(2::double precision, 0.125), longest)
  from (
    select u.bin, sum(u.number) over (order by u.bin) as so_far, sum(u.number) over () as total
    from unnest(bins, counts) as u(bin, number)) b
  where b.so_far >= share * b.total and b.total > 0
  order by b.bin
  limit 1
$$;
comment on function pgsched.bin_quantile is
  E'A quantile of a histogram in seconds; at most 9 % higher or lower than that of the durations it was made of. Null: it is empty.\n'
  'bins: The bins, each once.\n'
  'counts: How many are in each.\n'
  'share: Between 0 and 1.\n'
  'longest: The longest of them, which no quantile is beyond.';

-- Upkeep.

create function pgsched.take_roll_up_turn(worker uuid, every double precision) returns boolean
language sql security definer
set search_path = pg_catalog, pg_temp as $$
  with turn as (
    update pgsched.roll_up_state s
    set next_at = now() + take_roll_up_turn.every * interval '1 second', worker_id = take_roll_up_turn.worker
    where s.next_at <= now() or s.worker_id = take_roll_up_turn.worker
    returning 1)
  select exists (select from turn)
$$;
comment on function pgsched.take_roll_up_turn is
  'For workers: whether it is this worker''s turn to count the history, or still is. No other has it for a while.';

create function pgsched.sum_type_counts(fine integer, coarse integer, buckets timestamptz[]) returns void
language sql
set search_path = pg_catalog, pg_temp set jit = 'off' set max_parallel_workers_per_gather = 0 set work_mem = '32MB'
  set enable_nestloop = off as $$
  with part as materialized (
    select date_bin(coarse * interval '1 second', c.bucket, timestamptz '2000-01-01 00:00:00+00') as at, c.*
    from unnest(buckets) b(at)
    join pgsched.type_counts c on c.seconds = fine and c.bucket >= b.at and c.bucket < b.at + coarse * interval '1 second'
  ),
  runs as (
    select r.at, r.task_type, r.queue, array_agg(r.bin order by r.bin) as bins, array_agg(r.number order by r.bin) as counts
    from (
      select p.at, p.task_type, p.queue, u.bin, sum(u.number)::bigint as number
      from part p cross join lateral unnest(p.run_bins, p.run_counts) u(bin, number)
      group by p.at, p.task_type, p.queue, u.bin) r
    group by r.at, r.task_type, r.queue
  ),
  waits as (
    select w.at, w.task_type, w.queue, array_agg(w.bin order by w.bin) as bins, array_agg(w.number order by w.bin) as counts
    from (
      select p.at, p.task_type, p.queue, u.bin, sum(u.number)::bigint as number
      from part p cross join lateral unnest(p.wait_bins, p.wait_counts) u(bin, number)
      group by p.at, p.task_type, p.queue, u.bin) w
    group by w.at, w.task_type, w.queue
  )
  insert into pgsched.type_counts as c (
    seconds, bucket, task_type, queue, completed, failed, timed_out, cancelled, lost, snoozed, run_seconds, run_max,
    run_bins, run_counts, wait_seconds, wait_max, wait_bins, wait_counts)
  select coarse, s.*, coalesce(r.bins, '{}'), coalesce(r.counts, '{}'), s2.wait_seconds, s2.wait_max,
    coalesce(w.bins, '{}'), coalesce(w.counts, '{}')
  from (
    select p.at, p.task_type, p.queue, sum(p.completed), sum(p.failed), sum(p.timed_out), sum(p.cancelled), sum(p.lost),
      sum(p.snoozed), sum(p.run_seconds), max(p.run_max)
    from part p group by p.at, p.task_type, p.queue) s
  join (
    select p.at, p.task_type, p.queue, sum(p.wait_seconds) as wait_seconds, max(p.wait_max) as wait_max
    from part p group by p.at, p.task_type, p.queue) s2 using (at, task_type, queue)
  left join runs r using (at, task_type, queue)
  left join waits w using (at, task_type, queue)
  on conflict on constraint type_counts_pkey do update set
    (completed, failed, timed_out, cancelled, lost, snoozed, run_seconds, run_max, run_bins, run_counts, wait_seconds,
      wait_max, wait_bins, wait_counts) = (
      excluded.completed, excluded.failed, excluded.timed_out, excluded.cancelled, excluded.lost, excluded.snoozed,
      excluded.run_seconds, excluded.run_max, excluded.run_bins, excluded.run_counts, excluded.wait_seconds,
      excluded.wait_max, excluded.wait_bins, excluded.wait_counts)
$$;
comment on function pgsched.sum_type_counts is
  'For the schema: makes longer buckets of shorter ones.';

create function pgsched.count_history(
  begins timestamptz, ends timestamptz, compare boolean, out number bigint, out grown timestamptz[], out failed bigint
)
language plpgsql
set search_path = pg_catalog, pg_temp set jit = 'off' set max_parallel_workers_per_gather = 0 set work_mem = '32MB'
  set enable_nestloop = off as $$
#variable_conflict use_variable
-- Counts whole buckets anew, from the history as it is, and writes those in which there is more than was counted: a bucket
-- never shrinks, so that what was counted stays when the history is dropped. Counting twice changes nothing. Nobody knows how
-- many rows the sums have before they are made: joined in a loop they took 50 times as long.
declare
  width constant interval := interval '5 minutes';
  origin constant timestamptz := timestamptz '2000-01-01 00:00:00+00';
  durable constant text[] := array(select h.task_type::text from pgsched.handlers h where h.durable);
begin
  if compare then
    -- First only how many there are: most have not changed.
    select coalesce(sum(a.number), 0), min(a.bucket) filter (where a.number > coalesce(k.number, 0)),
      max(a.bucket) filter (where a.number > coalesce(k.number, 0)) + width
    into number, begins, ends
    from (
      select date_bin(width, e.finished_at, origin) as bucket, count(*) as number
      from pgsched.executions e
      where e.finished_at >= begins and e.finished_at < ends
      group by 1) a
    left join (
      select c.bucket, sum(c.completed + c.failed + c.timed_out + c.cancelled + c.lost + c.snoozed) as number
      from pgsched.type_counts c
      where c.seconds = 300 and c.bucket >= begins and c.bucket < ends
      group by 1) k using (bucket);
    grown := '{}';
    failed := 0;
    if begins is null then
      return;
    end if;
  end if;
  with attempt as (
    select date_bin(width, e.finished_at, origin) as bucket, e.task_type, e.queue,
      case when e.status = 'cancelled' and e.attempt = 0 then 'snoozed' else e.status end as status,
      case when e.status in ('completed', 'failed', 'timed_out') then greatest(e.duration_ms, 0) / 1000 end as run,
      case when e.attempt = 1 and e.status <> 'cancelled' and e.started_at >= e.scheduled_for
        -- Their attempts start anew after each suspension.
        and e.task_type <> all(durable)
        -- Late ones are looked at: a task that was retried by hand, waited for others or was put off was not due then.
        and (e.started_at < e.scheduled_for + interval '1 minute' or not exists (
            select from pgsched.executions b
            where b.task_id = e.task_id and b.started_at >= e.scheduled_for and b.started_at < e.started_at
              and b.scheduled_for is not distinct from e.scheduled_for)
          and not exists (select from pgsched.tasks t where t.id = e.task_id and t.depends_on <> '{}'))
        then date_part('epoch', e.started_at - e.scheduled_for) end as wait
    from pgsched.executions e
    where e.finished_at >= begins and e.finished_at < ends
    offset 0  -- each is computed once
  ),
  raw as materialized (
    -- Three small groupings of one scan: one of all that they group by would have about as many groups as attempts.
    select a.bucket, a.task_type, a.queue, grouping(a.status, a.run_bin, a.wait_bin) as kind, a.status, a.run_bin, a.wait_bin,
      count(*) as number, coalesce(sum(a.run), 0) as run_seconds, max(a.run) as run_max,
      coalesce(sum(a.wait), 0) as wait_seconds, max(a.wait) as wait_max
    from (
      select a.*, pgsched.duration_bin(a.run) as run_bin, pgsched.duration_bin(a.wait) as wait_bin from attempt a offset 0) a
    group by grouping sets (
      (a.bucket, a.task_type, a.queue, a.status), (a.bucket, a.task_type, a.queue, a.run_bin),
      (a.bucket, a.task_type, a.queue, a.wait_bin))
  ),
  ranked as materialized (
    select s.bucket, s.task_type, s.queue,
      row_number() over (partition by s.bucket order by s.number desc, s.task_type, s.queue) > 1000 as beyond
    from (select r.bucket, r.task_type, r.queue, sum(r.number) as number from raw r where r.kind = 3 group by 1, 2, 3) s
  ),
  bounded as materialized (
    select r.bucket, case when k.beyond then '' else r.task_type end as task_type,
      case when k.beyond then '' else r.queue end as queue, r.kind, r.status, r.run_bin, r.wait_bin, r.number,
      r.run_seconds, r.run_max, r.wait_seconds, r.wait_max
    from raw r join ranked k using (bucket, task_type, queue)
  ),
  more as materialized (
    select a.bucket
    from (select b.bucket, sum(b.number) as number from bounded b where b.kind = 3 group by 1) a
    left join (
      select c.bucket, sum(c.completed + c.failed + c.timed_out + c.cancelled + c.lost + c.snoozed) as number
      from pgsched.type_counts c
      where c.seconds = 300 and c.bucket >= begins and c.bucket < ends
      group by 1) k using (bucket)
    where a.number > coalesce(k.number, 0)
  ),
  runs as (
    select r.bucket, r.task_type, r.queue, array_agg(r.bin order by r.bin) as bins, array_agg(r.number order by r.bin) as counts
    from (
      select b.bucket, b.task_type, b.queue, b.run_bin as bin, sum(b.number)::bigint as number
      from bounded b where b.kind = 5 and b.run_bin is not null group by 1, 2, 3, 4) r
    group by 1, 2, 3
  ),
  waits as (
    select r.bucket, r.task_type, r.queue, array_agg(r.bin order by r.bin) as bins, array_agg(r.number order by r.bin) as counts
    from (
      select b.bucket, b.task_type, b.queue, b.wait_bin as bin, sum(b.number)::bigint as number
      from bounded b where b.kind = 6 and b.wait_bin is not null group by 1, 2, 3, 4) r
    group by 1, 2, 3
  ),
  written as (
    insert into pgsched.type_counts as c (
      seconds, bucket, task_type, queue, completed, failed, timed_out, cancelled, lost, snoozed, run_seconds, run_max,
      wait_seconds, wait_max, run_bins, run_counts, wait_bins, wait_counts)
    select 300, s.*, coalesce(r.bins, '{}'), coalesce(r.counts, '{}'), coalesce(w.bins, '{}'), coalesce(w.counts, '{}')
    from (
      select b.bucket, b.task_type, b.queue, coalesce(sum(b.number) filter (where b.status = 'completed'), 0),
        coalesce(sum(b.number) filter (where b.status = 'failed'), 0),
        coalesce(sum(b.number) filter (where b.status = 'timed_out'), 0),
        coalesce(sum(b.number) filter (where b.status = 'cancelled'), 0),
        coalesce(sum(b.number) filter (where b.status = 'lost'), 0),
        coalesce(sum(b.number) filter (where b.status = 'snoozed'), 0),
        sum(b.run_seconds), max(b.run_max), sum(b.wait_seconds), max(b.wait_max)
      from bounded b join more m using (bucket)
      where b.kind = 3
      group by 1, 2, 3) s
    left join runs r using (bucket, task_type, queue)
    left join waits w using (bucket, task_type, queue)
    on conflict on constraint type_counts_pkey do update set
      (completed, failed, timed_out, cancelled, lost, snoozed, run_seconds, run_max, run_bins, run_counts, wait_seconds,
        wait_max, wait_bins, wait_counts) = (
        excluded.completed, excluded.failed, excluded.timed_out, excluded.cancelled, excluded.lost, excluded.snoozed,
        excluded.run_seconds, excluded.run_max, excluded.run_bins, excluded.run_counts, excluded.wait_seconds,
        excluded.wait_max, excluded.wait_bins, excluded.wait_counts)
    returning c.bucket, c.failed + c.timed_out + c.lost as failed
  )
  select coalesce((select sum(b.number) from bounded b where b.kind = 3), 0), coalesce(array_agg(distinct w.bucket), '{}'),
    coalesce(sum(w.failed), 0)
  into number, grown, failed
  from written w;
  perform pgsched.sum_type_counts(300, 3600, array(
    select distinct date_bin('1 hour', g, origin) from unnest(grown) g));
  perform pgsched.sum_type_counts(3600, 21600, array(
    select distinct date_bin('6 hours', g, origin) from unnest(grown) g));
  perform pgsched.sum_type_counts(21600, 86400, array(
    select distinct date_bin('1 day', g, origin) from unnest(grown) g));
end $$;
comment on function pgsched.count_history is
  'For the schema: counts the attempts that ended within whole buckets of 5 minutes into pgsched.type_counts.';

create function pgsched.roll_up(
  most interval, out stage integer, out begins timestamptz, out ends timestamptz, out number bigint,
  out grown timestamptz[], out failed bigint
)
language plpgsql security definer
set search_path = pg_catalog, pg_temp set jit = 'off' as $$
#variable_conflict use_variable
-- One step, in the transaction of the caller, who writes the errors of the grown buckets in it, too. Whoever has the row
-- locked is alone; who dies has done nothing. Stage 0 counts what is new. What is committed long after it ended is found
-- by stages 1 to 3, which compare; stage 1 also counts what was there before, or was not counted while no worker ran.
declare
  width constant interval := interval '5 minutes';
  origin constant timestamptz := timestamptz '2000-01-01 00:00:00+00';
  lags constant interval[] := array['10 minutes', '2 hours', '2 days'];
  furthest constant interval := interval '30 days';
  state pgsched.roll_up_state;
  moment constant timestamptz := clock_timestamp();
  settled timestamptz[];
begin
  select * into state from pgsched.roll_up_state for update skip locked;
  if not found then
    return;
  end if;
  settled := state.settled_until;
  if state.fresh_from is null then
    state.fresh_from := date_bin(width, moment - interval '1 hour', origin);
    settled := array[
      greatest(moment - furthest, coalesce((select min(e.started_at) from pgsched.executions e), moment)),
      moment - lags[2], moment - lags[3]];
    select array_agg(date_bin(width, s, origin) order by p) into settled from unnest(settled) with ordinality u(s, p);
  elsif state.fresh_from < moment - interval '2 hours' then
    state.fresh_from := date_bin(width, moment - interval '1 hour', origin);  -- stage 1 counts what is in between
  end if;
  if state.counted_until is null or state.counted_until < moment - interval '20 seconds' then
    stage := 0;
    begins := state.fresh_from;
    ends := date_bin(width, moment, origin) + width;
    state.fresh_from := date_bin(width, moment - interval '30 seconds', origin);
    state.counted_until := moment;
  else
    for at in 1..3 loop
      settled[at] := greatest(settled[at], date_bin(width, moment - furthest, origin));
      if settled[at] + interval '30 minutes' <= moment - lags[at] then
        stage := at;
        begins := settled[at];
        ends := least(date_bin(width, moment - lags[at], origin), begins + greatest(date_bin(width, origin + most, origin) - origin, width));
        settled[at] := ends;
        exit;
      end if;
    end loop;
  end if;
  update pgsched.roll_up_state s
  set fresh_from = state.fresh_from, counted_until = state.counted_until, settled_until = settled;
  if stage is null then
    return;
  end if;
  select c.number, c.grown, c.failed into number, grown, failed
  from pgsched.count_history(begins, ends, stage > 0) c;
end $$;
comment on function pgsched.roll_up is
  'For workers: one step of counting the history. Stage null: there is nothing to do now, or somebody else does it.';

create function pgsched.note_errors(buckets timestamptz[], errors jsonb) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set jit = 'off' as $$
#variable_conflict use_variable
declare
  origin constant timestamptz := timestamptz '2000-01-01 00:00:00+00';
  fine integer := 300;
  coarse integer;
  longer timestamptz[];
  room integer;
begin
  room := greatest(500 - (select count(*) from pgsched.error_groups g where g.noted_at > now() - interval '1 day'), 0);
  insert into pgsched.error_groups as g (fingerprint, exception, message, first_seen, last_seen)
  select n.* from (
    select r.fingerprint, min(r.exception), min(r.message), min(r.first_seen), max(r.last_seen)
    from jsonb_to_recordset(errors) as r(fingerprint text, exception text, message text, first_seen timestamptz,
      last_seen timestamptz, number bigint)
    where r.fingerprint <> 'other' and not exists (select from pgsched.error_groups k where k.fingerprint = r.fingerprint)
    group by r.fingerprint
    order by sum(r.number) desc, r.fingerprint
    limit room) n
  on conflict do nothing;
  update pgsched.error_groups g
  set first_seen = least(g.first_seen, r.first_seen), last_seen = greatest(g.last_seen, r.last_seen)
  from (
    select r.fingerprint, min(r.first_seen) as first_seen, max(r.last_seen) as last_seen
    from jsonb_to_recordset(errors) as r(fingerprint text, first_seen timestamptz, last_seen timestamptz)
    group by r.fingerprint) r
  where g.fingerprint = r.fingerprint and (g.first_seen > r.first_seen or g.last_seen < r.last_seen);
  delete from pgsched.error_counts c where c.seconds = 300 and c.bucket = any(buckets);
  insert into pgsched.error_counts (seconds, bucket, fingerprint, task_type, queue, number, first_seen, last_seen, task_id)
  select 300, f.bucket, f.fingerprint, f.task_type, f.queue, sum(f.number), min(f.first_seen), max(f.last_seen), max(f.task_id)
  from (
    select r.bucket, r.number, r.first_seen, r.last_seen, case when r.named then r.task_id end as task_id,
      case when r.named then r.fingerprint else 'other' end as fingerprint,
      case when r.named then r.task_type else '' end as task_type, case when r.named then r.queue else '' end as queue
    from (
      select r.*, exists (select from pgsched.error_groups g where g.fingerprint = r.fingerprint)
        and row_number() over (partition by r.bucket order by r.of_group desc, r.fingerprint, r.number desc) <= 100 as named
      from (
        select r.*, sum(r.number) over (partition by r.bucket, r.fingerprint) as of_group
        from jsonb_to_recordset(errors) as r(bucket timestamptz, fingerprint text, task_type text, queue text, number bigint,
          first_seen timestamptz, last_seen timestamptz, task_id bigint)
        where r.bucket = any(buckets)) r) r) f
  group by 2, 3, 4, 5;
  foreach coarse in array array[3600, 21600, 86400] loop
    longer := array(select distinct date_bin(coarse * interval '1 second', b, origin) from unnest(buckets) b);
    delete from pgsched.error_counts c where c.seconds = coarse and c.bucket = any(longer);
    insert into pgsched.error_counts (seconds, bucket, fingerprint, task_type, queue, number, first_seen, last_seen, task_id)
    select coarse, f.bucket, f.fingerprint, f.task_type, f.queue, sum(f.number), min(f.first_seen), max(f.last_seen), max(f.task_id)
    from (
      select r.bucket, r.number, r.first_seen, r.last_seen, case when r.named then r.task_id end as task_id,
        case when r.named then r.fingerprint else 'other' end as fingerprint,
        case when r.named then r.task_type else '' end as task_type, case when r.named then r.queue else '' end as queue
      from (
        select s.*, row_number() over (
            partition by s.bucket order by s.fingerprint = 'other', s.of_group desc, s.fingerprint, s.number desc)
          <= case coarse when 86400 then 1000 else 300 end as named
        from (
          select s.*, sum(s.number) over (partition by s.bucket, s.fingerprint) as of_group from (
          select b.at as bucket, c.fingerprint, c.task_type, c.queue, sum(c.number) as number, min(c.first_seen) as first_seen,
            max(c.last_seen) as last_seen, max(c.task_id) as task_id
          from unnest(longer) b(at)
          join pgsched.error_counts c on c.seconds = fine and c.bucket >= b.at
            and c.bucket < b.at + coarse * interval '1 second'
          group by 1, 2, 3, 4) s) s) r) f
    group by 2, 3, 4, 5;
    fine := coarse;
  end loop;
end $$;
comment on function pgsched.note_errors is
  'For workers: writes the errors of buckets that pgsched.roll_up has counted, instead of those that were there.';

create function pgsched.prune_roll_ups() returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- What is not yet counted to its end keeps its short buckets: longer ones are made of them.
declare
  before timestamptz;
  gone integer;
  number integer := 0;
  level record;
begin
  select least(now(), s.settled_until[1] + interval '7 days') into before from pgsched.roll_up_state s;
  for level in
    select * from (values (300, interval '8 days', interval '8 days'), (3600, '15 days', '15 days'),
      (21600, '31 days', '31 days'), (86400, '400 days', '90 days')) v(seconds, types, errors)
  loop
    delete from pgsched.type_counts c where c.seconds = level.seconds and c.bucket < before - level.types;
    get diagnostics gone = row_count;
    number := number + gone;
    delete from pgsched.error_counts c where c.seconds = level.seconds and c.bucket < before - level.errors;
    get diagnostics gone = row_count;
    number := number + gone;
  end loop;
  delete from pgsched.error_groups g where g.last_seen < before - interval '91 days';
  delete from pgsched.handler_versions v
  where v.since < now() - interval '400 days' and exists (
    select from pgsched.handler_versions n where n.task_type = v.task_type and n.since > v.since);
  return number;
end $$;
comment on function pgsched.prune_roll_ups is
  'For workers: deletes counts of the history that are older than they are kept; returns how many.';

-- What people ask.

create function pgsched.counted_window(
  within interval, ago interval, out seconds integer, out since timestamptz, out until timestamptz, out covers double precision
)
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  origin constant timestamptz := timestamptz '2000-01-01 00:00:00+00';
  wide double precision := extract(epoch from within);
  counted timestamptz;
begin
  if wide is null or wide < 300 or wide > 34560000 then
    raise invalid_parameter_value using
      message = format('within must be between 5 minutes and 400 days, got %s', coalesce(within::text, 'null'));
  elsif ago is null or ago < interval '0' then
    raise invalid_parameter_value using
      message = format('ago must not be negative, got %s', coalesce(ago::text, 'null'));
  end if;
  seconds := case when wide <= 6 * 3600 then 300 when wide <= 86400 then 3600 when wide <= 7 * 86400 then 21600
    else 86400 end;
  counted := coalesce((select s.counted_until from pgsched.roll_up_state s), now()) - extract(epoch from ago) * interval '1 second';
  until := date_bin(seconds * interval '1 second', counted, origin) + seconds * interval '1 second';
  since := until - ceil(wide / seconds) * seconds * interval '1 second';
  covers := extract(epoch from case when ago = interval '0' then least(until, counted) else until end - since);
end $$;
comment on function pgsched.counted_window is
  'For the schema: the buckets of a time that ends now or earlier.';

create function pgsched.type_stats(
  within interval default '1 hour', ago interval default '0', task_type text default null, queue text default null
) returns table (
  type text, processed bigint, completed bigint, failed bigint, timed_out bigint, cancelled bigint, lost bigint,
  snoozed bigint, per_second double precision, failed_share double precision,
  run_mean double precision, run_p50 double precision, run_p95 double precision, run_p99 double precision,
  run_max double precision, wait_mean double precision, wait_p50 double precision, wait_p95 double precision,
  wait_p99 double precision, wait_max double precision
)
language sql stable rows 100
set search_path = pg_catalog, pg_temp set jit = 'off' as $$
  with part as materialized (
    select c.*, w.covers from pgsched.counted_window(within, ago) w
    join pgsched.type_counts c on c.seconds = w.seconds and c.bucket >= w.since and c.bucket < w.until
    where (type_stats.task_type is null or c.task_type = type_stats.task_type)
      and (type_stats.queue is null or c.queue = type_stats.queue)
  ),
  runs as (
    select r.task_type, array_agg(r.bin::integer) as bins, array_agg(r.number) as counts
    from (
      select p.task_type, u.bin, sum(u.number)::bigint as number
      from part p cross join lateral unnest(p.run_bins, p.run_counts) u(bin, number) group by 1, 2) r
    group by 1
  ),
  waits as (
    select r.task_type, array_agg(r.bin::integer) as bins, array_agg(r.number) as counts, sum(r.number) as number
    from (
      select p.task_type, u.bin, sum(u.number)::bigint as number
      from part p cross join lateral unnest(p.wait_bins, p.wait_counts) u(bin, number) group by 1, 2) r
    group by 1
  )
  select s.task_type, s.processed, s.completed, s.failed, s.timed_out, s.cancelled, s.lost, s.snoozed,
    s.processed / nullif(s.covers, 0), s.bad / nullif(s.processed, 0)::double precision,
    s.run_seconds / nullif(s.ran, 0),
    pgsched.bin_quantile(r.bins, r.counts, 0.5, s.run_max), pgsched.bin_quantile(r.bins, r.counts, 0.95, s.run_max),
    pgsched.bin_quantile(r.bins, r.counts, 0.99, s.run_max), s.run_max,
    s.wait_seconds / nullif(w.number, 0)::double precision,
    pgsched.bin_quantile(w.bins, w.counts, 0.5, s.wait_max), pgsched.bin_quantile(w.bins, w.counts, 0.95, s.wait_max),
    pgsched.bin_quantile(w.bins, w.counts, 0.99, s.wait_max), s.wait_max
  from (
    select p.task_type, sum(p.completed + p.failed + p.timed_out + p.cancelled + p.lost)::bigint as processed,
      sum(p.completed)::bigint as completed, sum(p.failed)::bigint as failed, sum(p.timed_out)::bigint as timed_out,
      sum(p.cancelled)::bigint as cancelled, sum(p.lost)::bigint as lost, sum(p.snoozed)::bigint as snoozed,
      sum(p.failed + p.timed_out + p.lost)::bigint as bad, sum(p.completed + p.failed + p.timed_out)::bigint as ran,
      max(p.covers) as covers, sum(p.run_seconds) as run_seconds, max(p.run_max) as run_max,
      sum(p.wait_seconds) as wait_seconds, max(p.wait_max) as wait_max
    from part p group by p.task_type) s
  left join runs r using (task_type)
  left join waits w using (task_type)
  order by s.processed desc, s.task_type
$$;
comment on function pgsched.type_stats is
  E'What ended of each type: throughput, share of failures, quantiles of run and wait in seconds (at most 9 % off). Read from counts that upkeep keeps; nothing is counted now.\n'
  'within: How long back, at least 5 minutes; the last bucket is the one under way.\n'
  'ago: The same time so long before: ''1 day'' is yesterday.\n'
  'task_type: Only this type.\n'
  'queue: Only of this queue.';

create function pgsched.type_history(
  task_type text, within interval default '1 hour', ago interval default '0', queue text default null
) returns table (
  at timestamptz, completed bigint, failed bigint, timed_out bigint, cancelled bigint, lost bigint, snoozed bigint,
  run_p50 double precision, run_p95 double precision, run_p99 double precision,
  wait_p50 double precision, wait_p95 double precision, wait_p99 double precision
)
language sql stable rows 100
set search_path = pg_catalog, pg_temp set jit = 'off' as $$
  with time as (select * from pgsched.counted_window(within, ago)),
  part as materialized (
    select c.* from time w
    join pgsched.type_counts c on c.seconds = w.seconds and c.bucket >= w.since and c.bucket < w.until
    where (type_history.task_type is null or c.task_type = type_history.task_type)
      and (type_history.queue is null or c.queue = type_history.queue)
  ),
  runs as (
    select r.bucket, array_agg(r.bin::integer) as bins, array_agg(r.number) as counts
    from (
      select p.bucket, u.bin, sum(u.number)::bigint as number
      from part p cross join lateral unnest(p.run_bins, p.run_counts) u(bin, number) group by 1, 2) r
    group by 1
  ),
  waits as (
    select r.bucket, array_agg(r.bin::integer) as bins, array_agg(r.number) as counts
    from (
      select p.bucket, u.bin, sum(u.number)::bigint as number
      from part p cross join lateral unnest(p.wait_bins, p.wait_counts) u(bin, number) group by 1, 2) r
    group by 1
  )
  select b.at, coalesce(s.completed, 0), coalesce(s.failed, 0), coalesce(s.timed_out, 0), coalesce(s.cancelled, 0),
    coalesce(s.lost, 0), coalesce(s.snoozed, 0),
    pgsched.bin_quantile(r.bins, r.counts, 0.5, s.run_max), pgsched.bin_quantile(r.bins, r.counts, 0.95, s.run_max),
    pgsched.bin_quantile(r.bins, r.counts, 0.99, s.run_max),
    pgsched.bin_quantile(w.bins, w.counts, 0.5, s.wait_max), pgsched.bin_quantile(w.bins, w.counts, 0.95, s.wait_max),
    pgsched.bin_quantile(w.bins, w.counts, 0.99, s.wait_max)
  from time t
  cross join lateral generate_series(t.since, t.until - interval '1 second', t.seconds * interval '1 second') b(at)
  left join (
    select p.bucket, sum(p.completed)::bigint as completed, sum(p.failed)::bigint as failed,
      sum(p.timed_out)::bigint as timed_out, sum(p.cancelled)::bigint as cancelled, sum(p.lost)::bigint as lost,
      sum(p.snoozed)::bigint as snoozed, max(p.run_max) as run_max, max(p.wait_max) as wait_max
    from part p group by p.bucket) s on s.bucket = b.at
  left join runs r on r.bucket = b.at
  left join waits w on w.bucket = b.at
  order by b.at
$$;
comment on function pgsched.type_history is
  E'What ended of a type, bucket by bucket, those in which nothing did, too.\n'
  'task_type: The type; null: all of them.\n'
  'within: How long back.\n'
  'ago: The same time so long before.\n'
  'queue: Only of this queue.';

create function pgsched.type_histogram(
  task_type text, within interval default '1 hour', ago interval default '0', queue text default null
) returns table (longer_than double precision, up_to double precision, runs bigint, waits bigint)
language sql stable rows 50
set search_path = pg_catalog, pg_temp set jit = 'off' as $$
  with part as materialized (
    select c.* from pgsched.counted_window(within, ago) w
    join pgsched.type_counts c on c.seconds = w.seconds and c.bucket >= w.since and c.bucket < w.until
    where (type_histogram.task_type is null or c.task_type = type_histogram.task_type)
      and (type_histogram.queue is null or c.queue = type_histogram.queue)
  )
  select pgsched.bin_seconds(b.bin - 1), pgsched.bin_seconds(b.bin), sum(b.runs)::bigint, sum(b.waits)::bigint
  from (
    select u.bin, u.number as runs, 0 as waits from part p cross join lateral unnest(p.run_bins, p.run_counts) u(bin, number)
    union all
    select u.bin, 0, u.number from part p cross join lateral unnest(p.wait_bins, p.wait_counts) u(bin, number)) b
  group by b.bin
  order by b.bin
$$;
comment on function pgsched.type_histogram is
  E'How long attempts at a type ran and waited: how many in each of the bins that are not empty; bounds are seconds.\n'
  'task_type: The type; null: all of them.\n'
  'within: How long back.\n'
  'ago: The same time so long before.\n'
  'queue: Only of this queue.';

create function pgsched.error_stats(
  within interval default '1 day', ago interval default '0', task_type text default null, queue text default null,
  fingerprint text default null
) returns table (
  id text, exception text, message text, number bigint, first_seen timestamptz, last_seen timestamptz,
  task_types text[], queues text[], versions text[], task_id bigint, trend bigint[]
)
language sql stable rows 100
set search_path = pg_catalog, pg_temp set jit = 'off' as $$
  with time as materialized (select * from pgsched.counted_window(within, ago)),
  part as materialized (
    select c.* from time w
    join pgsched.error_counts c on c.seconds = w.seconds and c.bucket >= w.since and c.bucket < w.until
    where (error_stats.task_type is null or c.task_type = error_stats.task_type)
      and (error_stats.queue is null or c.queue = error_stats.queue)
      and (error_stats.fingerprint is null or c.fingerprint = error_stats.fingerprint)
  ),
  trends as (
    select s.fingerprint, array_agg(coalesce(s.number, 0) order by s.at) as trend
    from (
      select f.fingerprint, b.at, n.number
      from (select distinct p.fingerprint from part p) f
      cross join time t
      cross join lateral generate_series(t.since, t.until - interval '1 second', t.seconds * interval '1 second') b(at)
      left join (
        select p.fingerprint, p.bucket, sum(p.number)::bigint as number from part p group by 1, 2) n
        on n.fingerprint = f.fingerprint and n.bucket = b.at) s
    group by 1
  ),
  codes as (
    select p.fingerprint, array_agg(distinct v.version) filter (where v.version is not null) as versions
    from (select distinct p.fingerprint, p.task_type, p.first_seen, p.last_seen from part p) p
    cross join lateral (
      select h.version from (
        select h.version, h.since, lead(h.since) over (order by h.since) as until
        from pgsched.handler_versions h where h.task_type = p.task_type) h
      where h.since <= p.last_seen and (h.until is null or h.until > p.first_seen)) v
    group by 1
  )
  select s.fingerprint, coalesce(g.exception, ''), coalesce(g.message, 'other errors'), s.number,
    coalesce(g.first_seen, s.first_seen), coalesce(g.last_seen, s.last_seen), s.task_types, s.queues,
    coalesce(c.versions, '{}'), s.task_id, t.trend
  from (
    select p.fingerprint, sum(p.number)::bigint as number, min(p.first_seen) as first_seen, max(p.last_seen) as last_seen,
      coalesce(array_agg(distinct p.task_type) filter (where p.task_type <> ''), '{}') as task_types,
      coalesce(array_agg(distinct p.queue) filter (where p.queue <> ''), '{}') as queues, max(p.task_id) as task_id
    from part p group by 1) s
  join trends t using (fingerprint)
  left join codes c using (fingerprint)
  left join pgsched.error_groups g using (fingerprint)
  order by s.fingerprint = 'other', s.number desc, s.fingerprint
$$;
comment on function pgsched.error_stats is
  E'With which errors attempts failed, grouped: how often, since when, of which types, queues and versions, and a task of each. Read from counts that upkeep keeps.\n'
  'within: How long back.\n'
  'ago: The same time so long before.\n'
  'task_type: Only of this type.\n'
  'queue: Only of this queue.\n'
  'fingerprint: Only this group.';

revoke execute on function
  pgsched.note_version, pgsched.take_roll_up_turn, pgsched.sum_type_counts, pgsched.count_history, pgsched.roll_up,
  pgsched.note_errors, pgsched.prune_roll_ups, pgsched.counted_window, pgsched.type_stats, pgsched.type_history,
  pgsched.type_histogram, pgsched.error_stats
  from public;

-- Who may make partitions does upkeep; who may read the history may read what is counted of it.
do $$
declare
  one record;
begin
  for one in
    select distinct case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end as grantee
    from pg_proc p cross join lateral aclexplode(p.proacl) a
    where p.oid = 'pgsched.make_partitions'::regproc and a.privilege_type = 'EXECUTE' and a.grantee <> p.proowner
  loop
    execute format('grant execute on function pgsched.take_roll_up_turn, pgsched.roll_up, pgsched.note_errors,'
      ' pgsched.prune_roll_ups to %s', one.grantee);
  end loop;
  for one in
    select distinct case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end as grantee
    from pg_class c cross join lateral aclexplode(c.relacl) a
    where c.oid = 'pgsched.executions'::regclass and a.privilege_type = 'SELECT' and a.grantee <> c.relowner
  loop
    execute format('grant select on pgsched.type_counts, pgsched.error_groups, pgsched.error_counts,'
      ' pgsched.roll_up_state, pgsched.handler_versions to %s', one.grantee);
    execute format('grant execute on function pgsched.counted_window, pgsched.type_stats, pgsched.type_history,'
      ' pgsched.type_histogram, pgsched.error_stats to %s', one.grantee);
  end loop;
end $$;
