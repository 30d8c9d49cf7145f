-- Works with programs of version 12 of the schema and later.
--
-- The protocol of workers in other languages as functions: register, claim, finish, beat, release, sleep, leave. What the
-- Python worker decides in its process (attempts that are used up, expiry, missed ticks, backoff, the next tick, groups)
-- is decided here in the database, so that a client has nothing to do but to run handlers. docs/worker_protocol.md is the
-- protocol; workers of either kind serve the same queues side by side.
--
-- Functions that change tasks set no search_path and no timezone: triggers of the application run in them as in a session of its own.

comment on column pgsched.workers.pgsched_version is
  'The version of pgsched that it runs; of a worker in another language, the language and version of its client. Null: one that does not tell.';

create function pgsched.protocol_version() returns integer
language sql immutable parallel safe
return 1;
comment on function pgsched.protocol_version is
  'The version of the worker protocol that this schema speaks. It grows when a client has to be changed.';

create function pgsched.retry_delay(
  backoff text, attempt integer, delay double precision, longest double precision, chance double precision,
  factor double precision default 2, jitter double precision default 0.2
) returns double precision
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp as $$
-- As retry_delay in pgsched/domain/backoff.py. A power that overflows is longer than any longest delay.
select least(
  d.plain * (1 - d.jitter) + d.chance * (least(d.plain * (1 + d.jitter), d.longest) - d.plain * (1 - d.jitter)), d.longest)
from (
  select coalesce(retry_delay.jitter, 0.2) as jitter, greatest(retry_delay.longest, retry_delay.delay) as longest,
    retry_delay.chance, case when retry_delay.delay = 0 then 0 else least(greatest(retry_delay.longest, retry_delay.delay),
      retry_delay.delay * case retry_delay.backoff
        when 'linear' then retry_delay.attempt
        when 'fixed' then 1
        else case when (retry_delay.attempt - 1) * ln(coalesce(retry_delay.factor, 2)) > 600 then 'infinity'
          else coalesce(retry_delay.factor, 2) ^ (retry_delay.attempt - 1) end end) end as plain) d
$$;
comment on function pgsched.retry_delay is
  'For workers: the seconds until the next attempt after one that failed. chance is a random number from 0 to 1, which '
  'spreads the retries of tasks that failed together.';

create function pgsched.tick_after(task pgsched.tasks, moment timestamptz) returns timestamptz
language sql stable
set search_path = pg_catalog, pg_temp as $$
  select pgsched.first_tick(task, greatest(tick_after.moment + interval '1 microsecond', (tick_after.task).planned_from))
$$;
comment on function pgsched.tick_after is
  'For workers: the first tick of a schedule strictly after an instant; null when there is none.';

create function pgsched.latest_tick(task pgsched.tasks, moment timestamptz) returns timestamptz
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- As _latest in pgsched/domain/scheduling/recurrence.py, which walks backwards. Here ticks are only found forwards: so the
-- span before the instant is doubled until a tick is in it, and what is behind that tick is halved.
declare
  tick constant timestamptz := task.scheduled_for;
  first constant timestamptz := greatest(tick + interval '1 microsecond', task.planned_from);
  until timestamptz := least(moment, task.end_date);
  span interval;
  low timestamptz;
  high timestamptz;
  found_tick timestamptz;
begin
  loop
    low := pgsched.first_tick(task, first);
    if low is null or low > until then
      return tick;
    end if;
    high := until;
    span := interval '1 second';
    while until - span > low loop
      found_tick := pgsched.first_tick(task, until - span);
      if found_tick <= until then
        low := found_tick;
        exit;
      end if;
      high := until - span;
      span := span * 4;
    end loop;
    loop
      found_tick := pgsched.first_tick(task, low + interval '1 microsecond');
      exit when found_tick is null or found_tick > until;
      low := found_tick;
      found_tick := pgsched.first_tick(task, low + (high - low) / 2);
      if found_tick <= until then
        low := found_tick;
      else
        high := low + (high - low) / 2;
      end if;
    end loop;
    if pgsched.due_at(task.id, low, task.jitter) <= moment then
      return low;
    end if;
    until := low - interval '1 microsecond';
  end loop;
end $$;
comment on function pgsched.latest_tick is
  'For workers: the last tick of a schedule that is due at an instant; the one that it is booked for when none came after.';

create function pgsched.count_ticks(task pgsched.tasks, first timestamptz, last timestamptz) returns integer
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- One by one, so no further than COUNT_LIMIT of pgsched/domain/scheduling/recurrence.py.
declare
  ticks integer := 0;
  tick timestamptz := first;
begin
  while tick <= last and ticks < 1000 loop
    ticks := ticks + 1;
    tick := pgsched.tick_after(task, tick);
  end loop;
  return ticks;
end $$;
comment on function pgsched.count_ticks is
  'For workers: the number of ticks between two, both included; 1000 means at least 1000.';

create function pgsched.admit_tick(
  task pgsched.tasks, moment timestamptz, out run timestamptz, out next_tick timestamptz, out missed integer
) returns record
language plpgsql stable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- As admit in pgsched/domain/scheduling/recurrence.py: `run` is the tick to run now; null: run nothing and book `next_tick`.
declare
  late constant interval := interval '10 seconds';
  tick constant timestamptz := task.scheduled_for;
  is_late constant boolean := moment - task.next_run_at > late;
  due timestamptz := task.next_run_at;
  oldest timestamptz := '-infinity';
  following timestamptz;
  latest timestamptz;
begin
  missed := 0;
  if task.execution_count >= task.repeat_count then
    return;
  end if;
  following := pgsched.tick_after(task, tick);
  if not is_late and (following is null or following > moment) then
    run := tick;
    return;
  end if;
  latest := pgsched.latest_tick(task, moment);
  if latest = tick and not is_late then
    run := tick;
    return;
  end if;
  if task.catchup_window is not null and extract(epoch from task.catchup_window) < 60000000000 then
    oldest := moment - make_interval(secs => extract(epoch from task.catchup_window)::double precision);
  end if;
  if task.on_missed = 'all' then
    if due >= oldest then
      run := tick;
      return;
    end if;
    latest := pgsched.latest_tick(task, oldest - interval '1 microsecond');
    missed := pgsched.count_ticks(task, tick, latest);
    following := pgsched.tick_after(task, latest);
    if pgsched.due_at(task.id, following, task.jitter) <= moment then
      run := following;
    else
      next_tick := following;
    end if;
    return;
  end if;
  if latest <> tick then
    due := pgsched.due_at(task.id, latest, task.jitter);
  end if;
  missed := pgsched.count_ticks(task, tick, latest);
  if (case when task.on_missed = 'skip' then moment - due <= late else due >= oldest end) then
    run := latest;
    missed := missed - 1;
  else
    next_tick := pgsched.tick_after(task, latest);
  end if;
end $$;
comment on function pgsched.admit_tick is
  'For workers: what on_missed decides of a due tick that makes its first attempt: the tick to run, or the one to book '
  'instead, and how many were dropped.';

create function pgsched.write_outcomes(worker uuid, outcomes jsonb) returns bigint[]
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan set jit = off as $$
#variable_conflict use_variable
-- The rules of conclude and judge in pgsched/domain/lifecycle.py and the statement of sql/queries/finish_tasks.sql in one:
-- what follows from an outcome is read from the row, which is locked first. Beside the outcomes that workers report there
-- are those of pgsched.judge_claimed: exhausted, expired, spawned, passed (nothing ran) and unplanned. A tick that is over
-- is followed by the one that pgsched.rebook books, as if the schedule had been edited meanwhile: that is right either way.
declare
  ids bigint[];
  ended bigint[];
begin
  with done as materialized (
    select d.id, d.fencing_token as token, d.outcome, d.result, d.error, coalesce(d.seconds, 0) as seconds, d.retry_in,
      d.next_tick, d.seconds is null as unmeasured
    from jsonb_to_recordset(outcomes) as d(
      id bigint, fencing_token bigint, outcome text, result jsonb, error text, seconds double precision,
      retry_in double precision, next_tick timestamptz)
    order by d.id
  ),
  held as materialized (
    select done.*, h.task, case when done.unmeasured and done.outcome in ('completed', 'ended', 'failed', 'timed_out', 'discarded', 'snoozed')
      then (h.task).started_at else statement_timestamp() - done.seconds * interval '1 second' end as started
    from done
    cross join lateral (
      select t as task
      from pgsched.tasks t
      where t.id = any(array[done.id]) and t.fencing_token = done.token and t.locked_by = worker and t.status = 'running'
      for no key update skip locked) h
  ),
  judged as materialized (
    -- A task that was snoozed too often (MAX_SNOOZES of the Python worker) has failed.
    select held.*, (held.task).schedule_type = 'one_time' as one_time, (held.task).attempts::integer as attempts,
      case when held.outcome <> 'snoozed' then held.outcome when often.snoozed >= 100 then 'failed' else 'snoozed' end as kind,
      case when held.outcome = 'snoozed' and often.snoozed >= 100
        then concat_ws(' ', held.error, '(max_snoozes is 100, so it counts as a failed attempt)') else held.error end as reason
    from held
    left join lateral (
      select count(*) as snoozed
      from pgsched.executions e
      where held.outcome = 'snoozed' and e.task_id = held.id and e.status = 'cancelled' and e.attempt = 0
        and e.fencing_token > coalesce((
          select max(c.fencing_token) from pgsched.executions c where c.task_id = held.id and c.attempt > 0), 0)) often on true
  ),
  concluded as materialized (
    select j.*,
      j.kind = 'discarded' or j.kind in ('failed', 'timed_out') and j.attempts >= (j.task).max_attempts or j.kind = 'exhausted' as dies,
      case j.kind when 'completed' then 'completed' when 'ended' then 'completed' when 'failed' then 'failed'
        when 'discarded' then 'failed' when 'timed_out' then 'timed_out' when 'snoozed' then 'snoozed'
        when 'expired' then 'cancelled' end as execution
    from judged j
  ),
  target as materialized (
    select c.*,
      case when c.one_time then c.kind in ('completed', 'ended')
        else c.kind in ('completed', 'ended', 'spawned') or c.dies and (c.task).scheduled_for is not null end as counted,
      not c.one_time and c.dies and (c.task).scheduled_for is not null as dead_lettered,
      case
        when c.one_time or c.kind = 'ended' or (c.task).scheduled_for is null then null
        when c.kind = 'passed' then c.next_tick
        when c.kind in ('spawned', 'exhausted') then
          case when (c.task).execution_count + 1 >= (c.task).repeat_count then null
            else pgsched.tick_after(c.task, (c.task).scheduled_for) end
        when c.kind = 'completed' or c.dies then pgsched.rebook(c.task, (c.task).scheduled_for, null, c.started, true) end as booked,
      -- Whether the row goes on with the tick that is booked.
      not c.one_time and (c.task).scheduled_for is not null
        and (c.kind in ('completed', 'passed', 'spawned') or c.dies) as moves,
      case when c.kind = 'snoozed' then coalesce(c.retry_in, 0)
        when c.kind in ('failed', 'timed_out') and not c.dies then coalesce(c.retry_in, pgsched.retry_delay(
          (c.task).backoff::text, c.attempts, extract(epoch from (c.task).backoff_delay)::double precision,
          extract(epoch from (c.task).backoff_max)::double precision, random(), (c.task).backoff_factor::double precision,
          (c.task).backoff_jitter::double precision)) end as delay
    from concluded c
  ),
  finished as (
    update pgsched.tasks t
    set status = case
        when target.moves then case when target.booked is null then 'completed' else 'pending' end
        when target.kind in ('completed', 'ended') then 'completed'
        when target.dies then 'dead'
        when target.kind = 'expired' then 'cancelled'
        else 'pending' end,
      next_run_at = case
        when target.moves then pgsched.due_at(t.id, target.booked, t.jitter)
        when target.delay is not null then statement_timestamp() + target.delay * interval '1 second'
        when target.kind = 'unplanned' then t.next_run_at end,
      scheduled_for = coalesce(case when target.moves then target.booked end, t.scheduled_for),
      attempts = case when target.moves or target.kind in ('unplanned', 'expired') or target.kind = 'ended' and not target.one_time then 0
        when target.kind = 'snoozed' then greatest(t.attempts - 1, 0)
        when target.kind = 'exhausted' then t.max_attempts else t.attempts end,
      execution_count = t.execution_count + target.counted::integer,
      locked_by = null, locked_until = null, unbegun_token = null,
      completed_at = case when target.moves and target.booked is null or not target.moves and not target.dies
        and target.kind in ('completed', 'ended', 'expired') then statement_timestamp() end,
      died_at = case when target.dies and not target.moves then statement_timestamp() end,
      last_run_at = case when target.execution is null then t.last_run_at else target.started end,
      result = case when target.execution = 'completed' then target.result else t.result end,
      last_error = case when target.execution = 'completed' then null else coalesce(target.reason, t.last_error) end,
      fired = case when target.moves and target.booked is not null or target.delay is not null then null else t.fired end,
      updated_at = statement_timestamp()
    from target
    where t.id = any(array[target.id])
    returning t.id, t.task_type, t.task_name, t.queue, t.priority, t.payload, t.metadata, t.tags, t.tenant_id, t.user_id,
      t.created_by, t.timezone, t.status, t.next_run_at, t.max_attempts, t.backoff, t.backoff_delay, t.backoff_max,
      t.backoff_factor, t.backoff_jitter, t.timeout,
      t.execution_count, t.last_run_at, t.jitter, t.concurrency_key, t.observed, t.fencing_token,
      target.execution, (target.task).scheduled_for as tick, target.attempts as attempt, target.seconds, target.unmeasured,
      target.result as new_result, target.reason as error, target.dead_lettered, target.kind = 'spawned' as spawned
  ),
  children as (
    insert into pgsched.tasks (
      task_type, task_name, queue, priority, payload, metadata, tags, tenant_id, user_id, created_by, schedule_type,
      scheduled_for, timezone, status, died_at, attempts, max_attempts, backoff, backoff_delay, backoff_max,
      backoff_factor, backoff_jitter, timeout, execution_count, last_run_at, last_error, parent_id, idempotency_key,
      concurrency_key, observed, jitter, next_run_at, on_missed, overlap, dependency_mode, on_dependency_dead)
    select f.task_type, f.task_name, f.queue, f.priority, f.payload, f.metadata, f.tags, f.tenant_id, f.user_id, f.created_by,
      'one_time', f.tick, f.timezone, case when f.dead_lettered then 'dead' else 'pending' end,
      case when f.dead_lettered then statement_timestamp() end,
      case when f.dead_lettered then least(f.attempt, f.max_attempts) else 0 end, f.max_attempts, f.backoff, f.backoff_delay,
      f.backoff_max, f.backoff_factor, f.backoff_jitter, f.timeout, f.execution_count - 1,
      case when f.dead_lettered then f.last_run_at end,
      case when f.dead_lettered then f.error end, f.id,
      case when f.spawned then format('tick:%s:%s', f.id, extract(epoch from f.tick)) end,
      f.concurrency_key, f.spawned and f.observed, case when f.spawned then f.jitter end,
      case when f.spawned then pgsched.due_at(f.id, f.tick, f.jitter) end,
      'once', 'skip', 'all', 'cancel'
    from finished f
    where f.dead_lettered or f.spawned
    on conflict (idempotency_key) where idempotency_key is not null do nothing
  ),
  history as (
    insert into pgsched.executions (
      task_id, task_type, queue, attempt, fencing_token, scheduled_for, worker_id, status, started_at, finished_at,
      duration_ms, result, error)
    select f.id, f.task_type, f.queue, case when f.execution = 'snoozed' then 0 else f.attempt end, f.fencing_token, f.tick,
      worker, case when f.execution = 'snoozed' then 'cancelled' else f.execution end, f.last_run_at,
      case when f.unmeasured then statement_timestamp() else f.last_run_at + f.seconds * interval '1 second' end,
      case when f.unmeasured then extract(epoch from statement_timestamp() - f.last_run_at) else f.seconds end * 1000,
      case when f.execution = 'completed' then f.new_result end, f.error
    from finished f
    where f.execution is not null
  ),
  woken as (
    select pg_notify('pgsched', next.queue)
    from (select f.queue::text as queue, min(f.next_run_at) as due from finished f where f.status = 'pending' group by f.queue) next
    where exists (
      select from pgsched.workers w
      where w.id <> worker and w.sleeping_until > next.due
        and (w.queues @> array[next.queue] or next.queue like any (w.patterns)))
  ),
  told as (
    select pg_notify('pgsched_events', json_build_object(
      'event', case when f.dead_lettered or f.status = 'dead' then 'dead' when f.execution = 'cancelled' then 'cancelled'
        when f.execution = 'completed' then 'completed' else 'failed' end,
      'id', f.id, 'task_type', f.task_type, 'queue', f.queue, 'attempt', f.attempt,
      'at', to_char(statement_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
      'duration', case when f.execution is not null then round(f.seconds::numeric, 6) end,
      'error', left(split_part(f.error, e'\n', 1), 500))::text)
    from finished f
    where (f.dead_lettered or f.status = 'dead' or coalesce(f.execution, 'snoozed') <> 'snoozed')
      and exists (select from pgsched.queues q where q.name = f.queue and q.events)
  )
  select coalesce(array_agg(f.id), '{}'), array_agg(f.id) filter (
      where f.observed and (f.status in ('completed', 'dead', 'cancelled') or f.execution = 'completed'))
  into ids, ended
  from finished f, (select count(*) from woken) w, (select count(*) from told) o;
  if ended is not null then
    perform pgsched.settle(ended);
  end if;
  return ids;
end $$;
comment on function pgsched.write_outcomes is
  'For workers: what pgsched.finish and pgsched.claim write of tasks that are not simply completed. Returns the ids that '
  'passed the fence.';

create function pgsched.judge_claimed(worker uuid, ids bigint[], lost boolean[]) returns setof bigint
language plpgsql
as $$
#variable_conflict use_variable
-- As judge in pgsched/domain/lifecycle.py, for rows that this transaction has claimed. Groups are fired and joined here.
declare
  moment constant timestamptz := clock_timestamp();
  task pgsched.tasks;
  tick timestamptz;
  admission record;
  superseded boolean;
  outcomes jsonb := '[]';
  verdict jsonb;
  joined record;
begin
  for place in 1..cardinality(ids) loop
    select * into task from pgsched.tasks t
    where t.id = ids[place] and t.locked_by = worker and t.status = 'running';
    continue when not found;
    verdict := null;
    tick := task.scheduled_for;
    if task.schedule_type = 'one_time' then
      if task.attempts > task.max_attempts then
        verdict := jsonb_build_object('outcome', 'exhausted');
      elsif task.expires_at <= moment and task.attempts <= 1 and task.last_run_at is null then
        verdict := jsonb_build_object('outcome', 'expired', 'error', format('expired: it had not started by %s',
          to_char(task.expires_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"')));
      end if;
    elsif tick is null then
      verdict := jsonb_build_object('outcome', 'unplanned');
    elsif task.attempts > task.max_attempts and task.overlap <> 'allow' then
      verdict := jsonb_build_object('outcome', 'exhausted');
    else
      -- An attempt after one that was lost is measured like the first when the next tick has come meanwhile.
      superseded := lost[place] and coalesce(
        pgsched.due_at(task.id, pgsched.tick_after(task, tick), task.jitter) <= moment, false);
      if task.fired is null and (task.attempts = 1 or superseded) then
        admission := pgsched.admit_tick(task, moment);
        if admission.missed > 0 then
          insert into pgsched.missed_ticks (task_id, task_type, queue, reason, ticks, first_tick, next_tick)
          values (task.id, task.task_type, task.queue, task.on_missed, admission.missed, tick,
            coalesce(admission.run, admission.next_tick));
        end if;
        if admission.run is null then
          verdict := jsonb_build_object('outcome', 'passed', 'next_tick', admission.next_tick);
        elsif admission.run <> tick then
          update pgsched.tasks t set scheduled_for = admission.run where t.id = task.id;
          task.scheduled_for := admission.run;
        end if;
      end if;
      if verdict is null and task.overlap = 'allow' then
        verdict := jsonb_build_object('outcome', 'spawned');
      end if;
    end if;
    if verdict ->> 'outcome' = 'exhausted' then
      verdict := verdict || jsonb_build_object('error', format('all %s attempts are used up', task.max_attempts)
        || case when lost[place] then '; in the last one its worker died or was cut off while it ran' else '' end);
    end if;
    if verdict is null and task.task_type = 'pgsched.group' then
      begin
        if task.fired is null then
          perform pgsched.fire_group(task.id, task.fencing_token);
          continue;
        end if;
        select * into joined from pgsched.join_group(task.id, task.fencing_token);
        verdict := jsonb_build_object('outcome', case when joined.ok then 'completed' else 'discarded' end,
          'result', joined.result, 'error', joined.error, 'seconds', joined.seconds);
      exception when integrity_constraint_violation or data_exception or raise_exception then
        verdict := jsonb_build_object('outcome', 'discarded', 'error', sqlerrm);
      end;
    end if;
    if verdict is null then
      return next task.id;
    else
      outcomes := outcomes || (verdict || jsonb_build_object('id', task.id, 'fencing_token', task.fencing_token));
    end if;
  end loop;
  if outcomes <> '[]' then
    begin
      perform pgsched.write_outcomes(worker, outcomes);
    exception when integrity_constraint_violation or data_exception or raise_exception or triggered_action_exception then
      -- One that the database refuses costs no other; its lease runs out, and it is judged again.
      for place in 0..jsonb_array_length(outcomes) - 1 loop
        begin
          perform pgsched.write_outcomes(worker, jsonb_build_array(outcomes -> place));
        exception when integrity_constraint_violation or data_exception or raise_exception or triggered_action_exception then
          raise warning 'the end of task % is refused: %', outcomes -> place ->> 'id', sqlerrm;
        end;
      end loop;
    end;
  end if;
end $$;
comment on function pgsched.judge_claimed is
  'For workers: decides what becomes of claimed tasks that a handler may not simply run: schedules, groups, tasks that '
  'expired or used up their attempts. Returns the ids of those to run.';

create function pgsched.register_worker(
  worker uuid, queues text[], task_types text[], concurrency integer, lease interval default '30 seconds',
  client text default null, code_version text default null, hostname text default 'unknown', pid integer default 0,
  protocol integer default 1
) returns integer
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
  if protocol is distinct from 1 then
    raise feature_not_supported using
      message = format('protocol must be %s, which this schema speaks, got %s', pgsched.protocol_version(), protocol);
  end if;
  perform pgsched.check_worker_call(queues, task_types, concurrency, 10000, lease);
  insert into pgsched.workers as w (
    id, hostname, pid, queues, task_types, concurrency, lease, pgsched_version, code_version, state)
  values (worker, left(hostname, 255), pid, queues, task_types, concurrency, lease, left(client, 200), code_version, 'active')
  on conflict on constraint workers_pkey do update
  set (hostname, pid, queues, task_types, concurrency, lease, pgsched_version, code_version, heartbeat_at) = (
    excluded.hostname, excluded.pid, excluded.queues, excluded.task_types, excluded.concurrency, excluded.lease,
    excluded.pgsched_version, excluded.code_version, now());
  -- So that an insert of these types is not taken for one that nobody runs. What another program has registered stays.
  perform pgsched.register((
    select jsonb_agg(jsonb_build_object('task_type', k.task_type))
    from unnest(task_types) as k(task_type)
    where not exists (
      select from pgsched.handlers h
      where h.task_type = k.task_type and h.retired_at is null and (h.payload_schema is not null
        or h.result_schema is not null or h.description is not null or h.version is not null or h.strict or h.durable
        or exists (select from pgsched.task_defaults d where d.kind = 'handler' and d.name = h.task_type)))));
  return pgsched.protocol_version();
end $$;
comment on function pgsched.register_worker is
  'Puts a worker on the list, and its types into the register. Call it again when beat says that the worker is not known. Returns the version of the protocol.
worker: An id that the process makes up at each start.
queues: The queues that it serves.
task_types: The types that it has handlers for.
concurrency: How many tasks it runs at once.
lease: How long its claims are good for without a beat.
client: Language and version of its client, for people.
code_version: The version of the application.
hostname: Where it runs.
pid: Its process there.
protocol: The version of the protocol that the client was written for.';

create function pgsched.check_worker_call(
  queues text[], task_types text[], number integer, highest integer, lease interval
) returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
  if coalesce(cardinality(queues), 0) not between 1 and 1000 or array_position(queues, null) is not null then
    raise invalid_parameter_value using
      message = format('queues must be 1 to 1000 names, got %s', coalesce(left(queues::text, 100), 'null'));
  elsif task_types is null or cardinality(task_types) > 10000 or array_position(task_types, null) is not null then
    raise invalid_parameter_value using
      message = format('task_types must be at most 10000 names, got %s', coalesce(left(task_types::text, 100), 'null'));
  elsif number is null or number not between 1 and highest then
    raise invalid_parameter_value using
      message = format('the number of tasks must be between 1 and %s, got %s', highest, coalesce(number::text, 'null'));
  elsif lease is null or lease not between interval '1 second' and interval '1 day' then
    raise invalid_parameter_value using
      message = format('lease must be between 1 second and 1 day, got %s', coalesce(lease::text, 'null'));
  end if;
end $$;
comment on function pgsched.check_worker_call is 'For workers: refuses what a worker must not ask for.';

create function pgsched.unregister_worker(worker uuid) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
  delete from pgsched.set_aside s where s.worker_id = worker;
  delete from pgsched.workers w where w.id = worker;
  return found;
end $$;
comment on function pgsched.unregister_worker is
  'Takes a worker off the list. What it still has must be released before. False: it was not on the list.
worker: Its id.';

create function pgsched.claim(
  worker uuid, queues text[], task_types text[], max_tasks integer default 1, lease interval default '30 seconds',
  passed_over bigint[] default '{}'
) returns table (
  id bigint, fencing_token bigint, task_type text, queue text, payload jsonb, attempt integer, max_attempts integer,
  timeout double precision, scheduled_for timestamptz, details jsonb
)
language plpgsql rows 100
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan set jit = off as $$
#variable_conflict use_variable
-- The statement of sql/queries/claim_tasks.sql, without the positions that a Python worker remembers, and without tasks that
-- are held in advance: what is claimed is to begin at once.
declare
  most_bytes constant bigint := 16777216;
  types constant text[] := task_types || 'pgsched.group'::text;
  limited text[];
  common text[];
  room integer := max_tasks;
  taken integer;
  limited_turn boolean;
  claimed record;
  doubtful bigint[];
  lost boolean[];
begin
  perform pgsched.check_worker_call(queues, task_types, max_tasks, 1000, lease);
  select coalesce(array_agg(q.name::text order by array_position(queues, q.name::text)), '{}') into limited
  from pgsched.queues q where q.apart and q.name = any(queues);
  common := case when limited = '{}' then queues else array(
    select o.name from unnest(queues) with ordinality as o(name, place) where o.name <> all(limited) order by o.place) end;
  limited_turn := queues[1] = any(limited);
  for round in 1..20 loop
    -- Those of the first queue's kind first, so that a client that rotates its queues lets each have its turn.
    taken := 0;
    doubtful := '{}';
    lost := '{}';
    for turn in 1..2 loop
      if room > taken and not limited_turn and common <> '{}' then
        for claimed in
          with probe as (
            select o.name as queue, p.priority::smallint as priority, q.ordering is distinct from 'lifo' as fifo
            from unnest(common) with ordinality as o(name, place)
            cross join generate_series(10, 1, -1) as p(priority)
            left join pgsched.queues q on q.name = o.name
            where q.paused is not true
            order by o.place, p.priority desc
          ),
          due as (
            select f.id, f.locked_by, f.fencing_token, f.attempts, f.started_at,
              coalesce(f.unbegun_token, 0) = -1 or f.locker <> '0' and pgsched.lock_was_lost(f.locker) as lock_lost,
              f.locked_by is null or f.unbegun_token is distinct from f.fencing_token as counts,
              case when pg_column_compression(f.payload) is null then pg_column_size(f.payload)
                else octet_length(f.payload::text) end as bytes
            from probe
            cross join lateral (
              select * from (
                select t.id, t.locked_by, t.fencing_token, t.attempts, t.started_at, t.unbegun_token, t.payload, t.xmax as locker
                from pgsched.tasks t
                where probe.fifo and t.queue = probe.queue and t.priority = probe.priority
                  and t.next_run_at is not null and t.enabled and t.next_run_at <= now()
                  and (t.locked_until is null or t.locked_until < now())
                  and t.task_type = any(types) and t.id <> all(passed_over)
                order by t.next_run_at, t.id
                limit room - taken
                for no key update skip locked) first_in
              union all
              select * from (
                select t.id, t.locked_by, t.fencing_token, t.attempts, t.started_at, t.unbegun_token, t.payload, t.xmax as locker
                from pgsched.tasks t
                where not probe.fifo and t.queue = probe.queue and t.priority = probe.priority
                  and t.next_run_at is not null and t.enabled and t.next_run_at <= now()
                  and (t.locked_until is null or t.locked_until < now())
                  and t.task_type = any(types) and t.id <> all(passed_over)
                order by t.next_run_at desc, t.id desc
                limit room - taken
                for no key update skip locked) last_in
            ) f
            limit room - taken
          ),
          placed as materialized (
            select due.*, sum(due.bytes) over (rows unbounded preceding) - due.bytes as before from due
          ),
          drawn as materialized (
            select nextval('pgsched.fencing_tokens') as token from (select from placed limit 1) as some_row
          ),
          marked as (
            -- What is let go again keeps the mark that its lock was lost.
            update pgsched.tasks t set unbegun_token = -1
            from placed
            where placed.lock_lost and placed.before >= most_bytes and t.id = any(array[placed.id])
          ),
          lost_attempts as (
            insert into pgsched.executions (
              task_id, task_type, queue, attempt, fencing_token, scheduled_for, worker_id, status, started_at, finished_at,
              duration_ms, error)
            select t.id, t.task_type, t.queue, p.attempts, p.fencing_token, t.scheduled_for, p.locked_by, 'lost',
              p.started_at, now(), extract(epoch from now() - p.started_at) * 1000,
              'the lease of worker ' || p.locked_by || ' ran out'
            from placed p join pgsched.tasks t on t.id = any(array[p.id])
            where p.locked_by is not null and p.counts and p.before < most_bytes
          )
          update pgsched.tasks t
          set status = 'running', locked_by = worker, locked_until = now() + lease, attempts = t.attempts + p.counts::integer,
            fencing_token = greatest(d.token, t.fencing_token + 1), started_at = now(), unbegun_token = null
          from placed p, drawn d
          where p.before < most_bytes and t.id = any(array[p.id])
          returning t.id, t.fencing_token, t.task_type, t.queue, t.payload, t.attempts, t.max_attempts, t.scheduled_for,
            case when t.timeout is not null then extract(epoch from t.timeout)::double precision end as timeout,
            p.locked_by is not null as lost, pgsched.claim_details(t) as details,
            t.schedule_type <> 'one_time' or t.attempts > t.max_attempts or t.expires_at is not null
              or t.task_type = 'pgsched.group' as doubtful
        loop
          taken := taken + 1;
          if claimed.doubtful then
            doubtful := doubtful || claimed.id;
            lost := lost || claimed.lost;
          else
            id := claimed.id;
            fencing_token := claimed.fencing_token;
            task_type := claimed.task_type;
            queue := claimed.queue;
            payload := claimed.payload;
            attempt := claimed.attempts;
            max_attempts := claimed.max_attempts;
            timeout := claimed.timeout;
            scheduled_for := claimed.scheduled_for;
            details := claimed.details;
            return next;
          end if;
        end loop;
      elsif room > taken and limited_turn and limited <> '{}' then
        for claimed in
          select c.lease_expired as lost, (c.task).id as id
          from pgsched.claim_limited(
            limited, array_fill(room - taken, array[cardinality(limited)]), room - taken, most_bytes, worker,
            extract(epoch from lease)::double precision, types, passed_over, false) as c
          where c.size is not null
        loop
          taken := taken + 1;
          doubtful := doubtful || claimed.id;
          lost := lost || claimed.lost;
        end loop;
      end if;
      limited_turn := not limited_turn;
    end loop;
    if taken > 0 and round = 1 then
      -- It is awake: it looks again by itself.
      update pgsched.workers w set sleeping_until = null where w.id = worker and w.sleeping_until is not null;
    end if;
    exit when doubtful = '{}';
    return query
    select t.id, t.fencing_token, t.task_type::text, t.queue::text, t.payload::jsonb, t.attempts::integer, t.max_attempts::integer,
      case when t.timeout is not null then extract(epoch from t.timeout)::double precision end, t.scheduled_for::timestamptz,
      pgsched.claim_details(t)
    from pgsched.judge_claimed(worker, doubtful, lost) with ordinality as j(id, place)
    join pgsched.tasks t on t.id = any(array[j.id])
    order by j.place;
    get diagnostics taken = row_count;
    -- Those that nobody is to run have left their place to others.
    room := room - taken;
    exit when taken = cardinality(doubtful) or room <= 0;
  end loop;
end $$;
comment on function pgsched.claim is
  'Leases due tasks to a worker, in the order in which they are to start. Attempts are counted; attempts that were lost are written to the history; tasks that expired or used up their attempts end; missed ticks, limits and pauses are respected; groups are fired and joined.
worker: Its id.
queues: Where to look, in this order.
task_types: The types that it runs; others are left alone.
max_tasks: How many at most, 1 to 1000: as many as can begin at once.
lease: For how long, without a beat: 1 second to 1 day.
passed_over: Tasks that are left out, as those that pgsched.look_at_refused returns.';

create function pgsched.look_at_refused(
  worker uuid, queues text[], task_types text[], max_tasks integer default 1, passed_over bigint[] default '{}'
) returns table (id bigint, task_type text, message text, dead boolean)
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
#variable_conflict use_variable
-- As the Python worker does it (pgsched/worker/set_aside.py). When more than 10 tasks are tried and all fail, the reason is not theirs.
declare
  tried record;
  ids bigint[];
  refused bigint[] := '{}';
  errors text[] := '{}';
begin
  perform pgsched.check_worker_call(queues, task_types, max_tasks, 1000, '1 minute');
  ids := array(
    select f.id
    from unnest(queues) with ordinality as o(name, place)
    cross join generate_series(10, 1, -1) as p(priority)
    left join pgsched.queues q on q.name = o.name
    cross join lateral (
      select t.id
      from pgsched.tasks t
      where t.queue = o.name and t.priority = p.priority and t.next_run_at is not null and t.enabled and t.next_run_at <= now()
        and (t.locked_until is null or t.locked_until < now())
        and t.task_type = any(task_types || 'pgsched.group'::text) and t.id <> all(passed_over)
      order by case when q.ordering = 'lifo' then extract(epoch from t.next_run_at) * -1 else extract(epoch from t.next_run_at) end, t.id
      limit max_tasks) f
    where q.paused is not true
    order by o.place, p.priority desc
    limit max_tasks);
  for tried in select t.* from pgsched.try_claims(ids, worker) t where t.state is not null loop
    refused := refused || tried.id;
    errors := errors || format('the task cannot be claimed: %s', tried.message);
  end loop;
  return query
  select r.id, t.task_type::text, r.error, coalesce(b.refused is null and b.id is not null, false)
  from unnest(refused, errors) as r(id, error)
  join pgsched.tasks t on t.id = r.id
  left join pgsched.bury_unclaimed(
    case when cardinality(refused) > 10 and cardinality(refused) = cardinality(ids) then '{}' else refused end, errors) b
    on b.id = r.id
  order by r.id;
end $$;
comment on function pgsched.look_at_refused is
  'To be called when the database has refused a claim: tries the claim of each task by itself, and ends as dead those that cannot be claimed. Returns them, and whether each is dead; those that are not are to be passed over for a while.
worker: Its id.
queues: As for the claim.
task_types: As for the claim.
max_tasks: As for the claim.
passed_over: As for the claim.';

create function pgsched.claim_details(task pgsched.tasks) returns jsonb
language sql stable as $$
  select case
    when task.task_name is null and task.tags = '{}' and task.metadata = '{}' and task.tenant_id is null
      and task.user_id is null and task.created_by is null and task.idempotency_key is null and task.parent_id is null
      and task.depends_on = '{}' and task.schedule_type = 'one_time' and task.priority = 5 then null
    else jsonb_strip_nulls(jsonb_build_object(
      'task_name', task.task_name, 'tags', nullif(task.tags, '{}'), 'metadata', nullif(task.metadata, '{}'),
      'tenant_id', task.tenant_id, 'user_id', task.user_id, 'created_by', task.created_by,
      'idempotency_key', task.idempotency_key, 'parent_id', task.parent_id, 'depends_on', nullif(task.depends_on, '{}'),
      'schedule_type', nullif(task.schedule_type, 'one_time'), 'priority', nullif(task.priority, 5))) end
$$;
comment on function pgsched.claim_details is 'For workers: what a claimed task says beside its payload; null when that is nothing.';

create function pgsched.finish(
  worker uuid, outcomes jsonb, out written integer, out fenced bigint[], out locked bigint[]
) returns record
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan set jit = off as $$
#variable_conflict use_variable
-- The common end first, as in sql/queries/finish_completed.sql: a one-time task that was completed. Rows that another
-- session has locked are not waited for.
declare
  given integer;
  unknown text;
  leaves boolean;
  tells boolean;
  gone bigint[] := '{}';
  ids bigint[];
  ended bigint[];
  others jsonb;
  missing jsonb;
begin
  if jsonb_typeof(outcomes) is distinct from 'array' or jsonb_array_length(outcomes) not between 1 and 2000 then
    raise invalid_parameter_value using message = format(
      'outcomes must be an array of 1 to 2000 objects, got %s', coalesce(left(outcomes::text, 100), 'null'));
  end if;
  given := jsonb_array_length(outcomes);
  select coalesce(d ->> 'outcome', 'null') into unknown from jsonb_array_elements(outcomes) d
  where coalesce(d ->> 'outcome', 'null') not in ('completed', 'failed', 'timed_out', 'discarded', 'snoozed', 'ended')
  limit 1;
  if unknown is not null then
    raise invalid_parameter_value using message = format(
      'outcome must be completed, failed, timed_out, discarded, snoozed or ended, got %s', left(unknown, 100));
  end if;
  select coalesce(bool_or(q.retention = '0'), false) or (select s.retention = '0' from pgsched.settings s) is true,
    coalesce(bool_or(q.events), false)
  into leaves, tells
  from pgsched.queues q where q.events or q.retention = '0';
  if leaves then
    select array_agg(l.id) into gone
    from (
      select array_agg(d.id order by d.id) as ids, array_agg(d.fencing_token order by d.id) as tokens,
        array_agg(coalesce(d.seconds, 0) order by d.id) as seconds, array_agg(d.result::text order by d.id) as results
      from jsonb_to_recordset(outcomes) as d(
        id bigint, fencing_token bigint, outcome text, seconds double precision, result jsonb)
      where d.outcome = 'completed'
    ) d
    cross join lateral pgsched.leave(worker, d.ids, d.tokens, d.seconds, d.seconds, d.results, true) as l(id)
    where d.ids is not null;
    gone := coalesce(gone, '{}');
    if tells and gone <> '{}' then
      perform pg_notify('pgsched_events', json_build_object(
        'event', 'completed', 'id', e.task_id, 'task_type', e.task_type, 'queue', e.queue, 'attempt', e.attempt,
        'at', to_char(e.finished_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'duration', round((e.duration_ms / 1000)::numeric, 6),
        'error', null)::text)
      from jsonb_to_recordset(outcomes) as d(id bigint, fencing_token bigint)
      join pgsched.executions e on e.task_id = d.id and e.fencing_token = d.fencing_token and e.worker_id = worker
      join pgsched.queues q on q.name = e.queue and q.events
      where d.id = any(gone);
    end if;
  end if;
  with done as materialized (
    select d.id, d.fencing_token, d.result, d.seconds
    from jsonb_to_recordset(outcomes) as d(
      id bigint, fencing_token bigint, outcome text, result jsonb, seconds double precision)
    where d.outcome = 'completed' and d.id <> all(gone)
    order by d.id
  ),
  held as materialized (
    select done.*
    from done
    cross join lateral (
      select from pgsched.tasks t
      where t.id = any(array[done.id]) and t.fencing_token = done.fencing_token and t.locked_by = worker
        and t.status = 'running' and t.schedule_type = 'one_time'
      for no key update skip locked) h
  ),
  finished as (
    update pgsched.tasks t
    set status = 'completed', next_run_at = null, completed_at = statement_timestamp(), locked_by = null, locked_until = null,
      last_run_at = case when held.seconds is null then t.started_at
        else statement_timestamp() - held.seconds * interval '1 second' end,
      execution_count = t.execution_count + 1, result = held.result, last_error = null, updated_at = statement_timestamp()
    from held
    where t.id = any(array[held.id])
    returning t.id, t.task_type, t.queue, t.attempts, t.fencing_token, t.scheduled_for, t.last_run_at, t.completed_at, t.result, t.observed
  ),
  history as (
    insert into pgsched.executions (
      task_id, task_type, queue, attempt, fencing_token, scheduled_for, worker_id, status, started_at, finished_at,
      duration_ms, result)
    select f.id, f.task_type, f.queue, f.attempts, f.fencing_token, f.scheduled_for, worker, 'completed', f.last_run_at,
      f.completed_at, extract(epoch from f.completed_at - f.last_run_at) * 1000, f.result
    from finished f
  ),
  told as (
    select pg_notify('pgsched_events', json_build_object(
      'event', 'completed', 'id', f.id, 'task_type', f.task_type, 'queue', f.queue, 'attempt', f.attempts,
      'at', to_char(f.completed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
      'duration', round(extract(epoch from f.completed_at - f.last_run_at), 6), 'error', null)::text)
    from finished f join pgsched.queues q on q.name = f.queue
    where tells and q.events
  )
  select coalesce(array_agg(f.id), '{}'), array_agg(f.id) filter (where f.observed) into ids, ended
  from finished f, (select count(*) from told) o;
  if ended is not null then
    perform pgsched.settle(ended);
  end if;
  written := cardinality(ids) + cardinality(gone);
  fenced := '{}';
  locked := '{}';
  if written = given then
    return;
  end if;
  select jsonb_agg(d) into others from jsonb_array_elements(outcomes) d
  where (d ->> 'id')::bigint <> all(ids) and (d ->> 'id')::bigint <> all(gone);
  ids := ids || pgsched.write_outcomes(worker, coalesce(others, '[]'));
  if outcomes @> '[{"outcome": "ended"}]' then
    -- A tick that is a task of its own (overlap = allow) ends the schedule that it belongs to.
    with over as (
      update pgsched.tasks p
      set status = 'completed', next_run_at = null, completed_at = statement_timestamp(), attempts = 0, locked_by = null,
        locked_until = null, result = t.result, updated_at = statement_timestamp()
      from jsonb_to_recordset(outcomes) as d(id bigint, fencing_token bigint, outcome text)
      join pgsched.tasks t on t.id = d.id and t.fencing_token = d.fencing_token and t.status = 'completed'
      where d.outcome = 'ended' and d.id = any(ids) and p.id = t.parent_id and p.overlap = 'allow'
        and p.status in ('pending', 'running')
        and t.idempotency_key = format('tick:%s:%s', p.id, extract(epoch from t.scheduled_for))
      returning p.id, p.observed
    )
    select array_agg(o.id) into ended from over o where o.observed;
    if ended is not null then
      perform pgsched.settle(ended);
    end if;
  end if;
  written := cardinality(ids) + cardinality(gone);
  if written = given then
    return;
  end if;
  select coalesce(array_agg(m.id) filter (where m.held), '{}'), coalesce(array_agg(m.id) filter (where not m.held and not m.noted), '{}'),
    written + count(*) filter (where not m.held and m.noted)
  into locked, fenced, written
  from (
    select d.id,
      exists (
        select from pgsched.tasks t
        where t.id = d.id and t.fencing_token = d.fencing_token and t.locked_by = worker and t.status = 'running') as held,
      exists (
        select from pgsched.executions e
        where e.task_id = d.id and e.fencing_token = d.fencing_token and e.worker_id = worker
          and e.status <> 'lost' and (e.status <> 'cancelled' or e.attempt = 0)) as noted
    from jsonb_to_recordset(outcomes) as d(id bigint, fencing_token bigint)
    where d.id <> all(ids) and d.id <> all(gone)
  ) m;
end $$;
comment on function pgsched.finish is
  'Writes what became of claimed tasks, in one transaction: history, retries by the backoff of the task, dead letters, the next tick of a schedule, tasks that wait for these. Returns how many were written (those that an earlier call has written, too), and the ids that are no longer the worker''s (fenced: nothing is written) or locked by another session (locked: send them again).
worker: Its id.
outcomes: 1 to 2000 objects with id, fencing_token, outcome (completed, failed, timed_out, discarded: no further attempt, snoozed: not counted, or ended: the schedule is over) and where they apply result, error, seconds (how long the handler ran) and retry_in (seconds until the next attempt).';

create function pgsched.beat(
  worker uuid, ids bigint[], fencing_tokens bigint[], running integer default 0, lease interval default '30 seconds',
  state text default 'active',
  out registered boolean, out request text, out renewed integer, out cancelled bigint[], out lost bigint[]
) returns record
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan set jit = off as $$
#variable_conflict use_variable
-- As sql/queries/beat.sql: a row that another session has locked is not waited for, and a later beat renews it.
begin
  if cardinality(ids) is distinct from cardinality(fencing_tokens) or cardinality(ids) > 10000 then
    raise invalid_parameter_value using message = format(
      'ids and fencing_tokens must be of one length, at most 10000, got %s and %s', cardinality(ids), cardinality(fencing_tokens));
  end if;
  perform pgsched.check_worker_call(array['-'], '{}', 1, 1, lease);
  update pgsched.workers w set heartbeat_at = now(), running = beat.running, state = beat.state
  where w.id = worker
  returning w.request into request;
  registered := found;
  with held as materialized (
    select h.id, h.token from unnest(ids, fencing_tokens) as h(id, token) order by h.id
  ),
  own as materialized (
    select h.id, h.token from held h
    join pgsched.tasks t on t.id = any(array[h.id]) and t.fencing_token = h.token and t.locked_by = worker and t.status = 'running'
  ),
  free as materialized (
    select f.id from own
    cross join lateral (
      select t.id from pgsched.tasks t
      where t.id = any(array[own.id]) and t.fencing_token = own.token and t.locked_by = worker and t.status = 'running'
      for no key update skip locked) f
  ),
  renewed_rows as (
    update pgsched.tasks t set locked_until = now() + lease from free where t.id = any(array[free.id]) returning t.id
  ),
  gone as materialized (
    select h.id, exists (select from pgsched.tasks t where t.id = h.id and t.status = 'cancelled') as cancelled
    from held h where not exists (select from own where own.id = h.id)
  )
  select (select count(*) from renewed_rows), coalesce(array_agg(g.id) filter (where g.cancelled), '{}'),
    coalesce(array_agg(g.id) filter (where not g.cancelled), '{}')
  into renewed, cancelled, lost
  from gone g;
end $$;
comment on function pgsched.beat is
  'Says that a worker lives, and renews its leases. Call it every third of a lease. Returns whether the worker is on the list (if not, register it again), what it was asked to do (pause, drain or null), how many leases were renewed, and the ids of tasks that were cancelled, or are another''s: stop their handlers, what they return is not written.
worker: Its id.
ids: The tasks that it has.
fencing_tokens: The tokens of their claims, in the same order.
running: How many of its slots are occupied.
lease: For how long, from now on.
state: active, paused or draining.';

create function pgsched.release(worker uuid, ids bigint[], fencing_tokens bigint[]) returns integer
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan set jit = off as $$
#variable_conflict use_variable
-- As sql/queries/release_tasks.sql.
declare
  released integer;
  queues text[];
begin
  if cardinality(ids) is distinct from cardinality(fencing_tokens) or cardinality(ids) > 10000 then
    raise invalid_parameter_value using message = format(
      'ids and fencing_tokens must be of one length, at most 10000, got %s and %s', cardinality(ids), cardinality(fencing_tokens));
  end if;
  with held as materialized (
    select h.id, h.token from unnest(ids, fencing_tokens) as h(id, token) order by h.id
  ),
  own as materialized (
    select o.id from held h
    cross join lateral (
      select t.id from pgsched.tasks t
      where t.id = any(array[h.id]) and t.fencing_token = h.token and t.locked_by = worker and t.status = 'running'
      for no key update skip locked) o
  ),
  released_rows as (
    update pgsched.tasks t
    set status = 'pending', locked_by = null, locked_until = null, attempts = greatest(t.attempts - 1, 0)
    from own where t.id = any(array[own.id])
    returning t.queue::text as queue
  )
  select count(*), array_agg(distinct r.queue) into released, queues from released_rows r;
  perform pgsched.wake_sleepers(q.name, now()) from unnest(queues) as q(name);
  return released;
end $$;
comment on function pgsched.release is
  'Gives claimed tasks back that were not begun, or that a stopping worker interrupted, with the attempt that the claim counted. Returns how many; those that are another''s, or locked by another session, are left as they are.
worker: Its id.
ids: The tasks.
fencing_tokens: The tokens of their claims, in the same order.';

create function pgsched.sleep(worker uuid, longest interval default '1 minute') returns double precision
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set plan_cache_mode = force_generic_plan set jit = off as $$
#variable_conflict use_variable
-- As sql/queries/fall_asleep.sql.
declare
  seconds double precision;
begin
  if longest is null or longest not between interval '0' and interval '1 minute' then
    raise invalid_parameter_value using message = format(
      'longest must be between 0 and 1 minute, got %s', coalesce(longest::text, 'null'));
  end if;
  update pgsched.workers w
  set sleeping_until = least(now() + longest, (
    select min(due.next_run_at)
    from unnest(w.queues) as q(name)
    cross join generate_series(1, 10) as p(priority)
    cross join lateral (
      select t.next_run_at
      from pgsched.tasks t
      where t.queue = q.name and t.priority = p.priority and t.next_run_at is not null and t.enabled
        and t.next_run_at > now()
      order by t.next_run_at
      limit 1) due))
  where w.id = worker
  returning extract(epoch from w.sleeping_until - now())::double precision into seconds;
  return seconds;
end $$;
comment on function pgsched.sleep is
  'Says that a worker sleeps, so that an insert into one of its queues that is due before notifies the channel pgsched. Claim once more right after it: what was inserted while the worker fell asleep notified nobody. Returns the seconds until the next task is due; null when the worker is not on the list. A claim that takes something ends the sleep.
worker: Its id.
longest: At most for so long, up to a minute.';

create function pgsched.report_progress(worker uuid, id bigint, fencing_token bigint, progress jsonb) returns boolean
language plpgsql
as $$
#variable_conflict use_variable
begin
  update pgsched.tasks t set progress = report_progress.progress
  where t.id = report_progress.id and t.fencing_token = report_progress.fencing_token and t.locked_by = worker and t.status = 'running';
  return found;
end $$;
comment on function pgsched.report_progress is
  'Shows people how far a running task is. False: it is no longer the worker''s.
worker: Its id.
id: The task.
fencing_token: The token of its claim.
progress: Any JSON value.';

create function pgsched.upkeep() returns integer
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  expired integer;
begin
  delete from pgsched.set_aside s where s.worker_id in (
    select w.id from pgsched.workers w where w.heartbeat_at < now() - 3 * w.lease);
  delete from pgsched.workers w where w.heartbeat_at < now() - 3 * w.lease;
  perform pgsched.make_partitions();
  select pgsched.expire_tasks(1000) into expired;
  return expired;
end $$;
comment on function pgsched.upkeep is
  'What must be done where no Python worker runs, once a minute: makes partitions of the history, cancels tasks that expired unclaimed, takes workers off the list that died. Returns how many tasks expired.';

revoke execute on function
  pgsched.retry_delay, pgsched.tick_after, pgsched.latest_tick, pgsched.count_ticks, pgsched.admit_tick,
  pgsched.write_outcomes, pgsched.judge_claimed, pgsched.register_worker, pgsched.check_worker_call, pgsched.unregister_worker,
  pgsched.claim, pgsched.look_at_refused, pgsched.claim_details, pgsched.finish, pgsched.beat, pgsched.release, pgsched.sleep,
  pgsched.report_progress, pgsched.upkeep
  from public;

-- Whoever may claim may do so by the protocol.
do $$
declare
  one record;
begin
  for one in
    select distinct case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end as grantee
    from pg_proc p cross join lateral aclexplode(p.proacl) a
    where p.oid = 'pgsched.claim_limited'::regproc and a.privilege_type = 'EXECUTE' and a.grantee <> p.proowner
  loop
    execute format('grant execute on function pgsched.retry_delay, pgsched.tick_after, pgsched.latest_tick,'
      ' pgsched.count_ticks, pgsched.admit_tick, pgsched.write_outcomes, pgsched.judge_claimed, pgsched.register_worker,'
      ' pgsched.check_worker_call, pgsched.unregister_worker, pgsched.claim, pgsched.look_at_refused, pgsched.claim_details, pgsched.finish,'
      ' pgsched.beat, pgsched.release, pgsched.sleep, pgsched.report_progress, pgsched.upkeep to %s', one.grantee);
  end loop;
end $$;
