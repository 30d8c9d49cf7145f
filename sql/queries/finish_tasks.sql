-- All other finishes: retries, deaths, ticks of schedules, plans. One statement writes the outcome, the history, the
-- next run and the child of a tick (dead if the tick used up its attempts, due if its schedule may overlap itself),
-- guarded by owner and fencing token. A schedule that was edited since the claim (another revision) is booked by the
-- database (pgsched.rebook) instead of by the worker's values, unless its handler ended it. A snoozed attempt is
-- cancelled in the history, with number 0: it does not count. Unblocks the tasks that depend on a row that ended or on
-- a tick that completed. Returns how many passed the fence. Times are relative to the statement, because the
-- transaction may be a handler's, which started with the handler.
with done as (
  select *
  from unnest(%(ids)s::bigint[], %(tokens)s::bigint[], %(statuses)s::text[], %(executions)s::text[],
    %(ticks)s::timestamptz[], %(next_ticks)s::timestamptz[], %(retries_in)s::float8[], %(jitters)s::float8[],
    %(counted)s::boolean[], %(dead_lettered)s::boolean[], %(spawned)s::boolean[], %(attempts)s::integer[],
    %(revisions)s::integer[],
    %(ends)s::boolean[], %(started_ago)s::float8[], %(seconds)s::float8[], %(results)s::text[], %(errors)s::text[])
    as d(id, token, status, execution, tick, next_tick, retry_in, jitter, counted, dead_lettered, spawned, attempts,
      revision, ends, started_ago, seconds, result, error)
),
target as (
  -- Locked first: `attempt` is the number of this attempt, before the update resets the count.
  select done.*, t.attempts as attempt, t.worker_id, t.edited,
    case when t.edited then pgsched.rebook(t.task, done.tick, done.next_tick,
      statement_timestamp() - done.started_ago * interval '1 second', done.counted) end as booked
  from done
  join lateral (
    select t.attempts, t.locked_by as worker_id, e.edited, case when e.edited then t end as task
    from pgsched.tasks t
    cross join lateral (
      select t.revision <> done.revision and t.schedule_type <> 'one_time' and (done.execution is null or done.counted)
        and not done.ends as edited
    ) e
    where t.id = any(array[done.id]) and t.fencing_token = done.token
      and t.locked_by = %(worker)s and t.status = 'running'
    for no key update of t
  ) t on true
),
finished as (
  update pgsched.tasks t
  set status = case when not target.edited then target.status
      when target.booked is null then 'completed' else 'pending' end,
    next_run_at = case
      when target.edited then pgsched.due_at(t.id, target.booked, t.jitter)
      when target.status <> 'pending' then null
      when target.retry_in is not null then statement_timestamp() + target.retry_in * interval '1 second'
      else coalesce(target.next_tick + target.jitter * interval '1 second', t.next_run_at) end,
    scheduled_for = case
      when target.edited then coalesce(target.booked, t.scheduled_for)
      when target.next_tick is not null then target.next_tick
      else t.scheduled_for end,
    attempts = case when target.edited then 0 else target.attempts end,
    execution_count = t.execution_count + target.counted::integer,
    locked_by = null, locked_until = null,
    completed_at = case
      when case when target.edited then target.booked is null else target.status in ('completed', 'cancelled') end
        then statement_timestamp() end,
    died_at = case when not target.edited and target.status = 'dead' then statement_timestamp() end,
    last_run_at = case when target.execution is null then t.last_run_at
      else statement_timestamp() - target.started_ago * interval '1 second' end,
    result = case when target.execution = 'completed' then target.result::jsonb else t.result end,
    last_error = case when target.execution = 'completed' then null else coalesce(target.error, t.last_error) end,
    fired = case when target.edited or target.status = 'pending' then null else t.fired end,
    updated_at = statement_timestamp()
  from target
  where t.id = any(array[target.id])
  -- Columns are named, because users may have added others.
  returning t.id, t.task_type, t.task_name, t.queue, t.priority, t.payload, t.metadata, t.tags, t.tenant_id, t.user_id,
    t.created_by, t.timezone, t.status, t.next_run_at, t.max_attempts, t.backoff, t.backoff_delay, t.backoff_max,
    t.backoff_factor, t.backoff_jitter, t.timeout,
    t.execution_count, t.last_run_at, t.jitter, t.concurrency_key, t.observed, t.fencing_token,
    target.execution, target.tick, target.attempt, target.worker_id, target.seconds, target.result as new_result,
    target.error, target.dead_lettered, target.spawned
),
children as (
  insert into pgsched.tasks (
    task_type, task_name, queue, priority, payload, metadata, tags, tenant_id, user_id, created_by, schedule_type,
    scheduled_for, timezone, status, died_at, attempts, max_attempts, backoff, backoff_delay, backoff_max,
    backoff_factor, backoff_jitter, timeout, execution_count, last_run_at, last_error, parent_id, idempotency_key,
    concurrency_key, observed, jitter, next_run_at, on_missed, overlap, dependency_mode, on_dependency_dead)
  select task_type, task_name, queue, priority, payload, metadata, tags, tenant_id, user_id, created_by, 'one_time',
    tick, timezone, case when dead_lettered then 'dead' else 'pending' end,
    case when dead_lettered then statement_timestamp() end,
    case when dead_lettered then least(attempt, max_attempts) else 0 end, max_attempts, backoff, backoff_delay,
    backoff_max, backoff_factor, backoff_jitter, timeout, execution_count - 1,
    case when dead_lettered then last_run_at end,
    case when dead_lettered then error end, id,
    -- One child per tick, even if the tick was claimed twice.
    case when spawned then format('tick:%%s:%%s', id, extract(epoch from tick)) end,
    concurrency_key, spawned and observed, case when spawned then jitter end,
    case when spawned then pgsched.due_at(id, tick, jitter) end,
    'once', 'skip', 'all', 'cancel'  -- complete: its options are not resolved again
  from finished
  where dead_lettered or spawned
  on conflict (idempotency_key) where idempotency_key is not null do nothing
),
history as (
  insert into pgsched.executions (
    task_id, task_type, queue, attempt, fencing_token, scheduled_for, worker_id, status, started_at, finished_at,
    duration_ms, result, error)
  select id, task_type, queue, case when execution = 'snoozed' then 0 else attempt end, fencing_token, tick, worker_id,
    case when execution = 'snoozed' then 'cancelled' else execution end, last_run_at,
    last_run_at + seconds * interval '1 second', seconds * 1000, new_result::jsonb, error
  from finished
  where execution is not null
),
woken as (
  -- The next run may become due while other workers sleep; this one checks by itself.
  select pgsched.notify('pgsched', next.queue)
  from (select queue::text, min(next_run_at) as due from finished where status = 'pending' group by queue) next
  where exists (
    select from pgsched.workers w
    where w.id <> %(worker)s and w.sleeping_until > next.due
      and (w.queues @> array[next.queue] or next.queue like any (w.patterns)))
)
select count(*), (select count(*) from woken),
  case when bool_or(observed) then
    pgsched.settle(array_agg(id) filter (
      where observed and (status in ('completed', 'dead', 'cancelled') or execution = 'completed'))) end
from finished
