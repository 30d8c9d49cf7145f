-- Suspends durable runs, behind the fence: the lease ends, and the task is pending until its wake time, or blocked
-- while it waits for events or children. The claim of a resume is not an attempt: it is uncounted here. With a payload
-- the run is over and another one starts with it. Returns how many passed the fence.
with given as (
  select *
  from unnest(%(ids)s::bigint[], %(tokens)s::bigint[], %(statuses)s::text[], %(awaits)s::text[],
    %(wakes)s::timestamptz[], %(payloads)s::text[], %(unasked)s::text[], %(started_ago)s::float8[])
    as g(id, token, status, awaits, wakes_at, payload, unasked, started_ago)
),
suspended as (
  update pgsched.tasks t
  set status = g.status, attempts = case when g.payload is null then greatest(t.attempts - 1, 0) else 0 end,
    locked_by = null, locked_until = null,
    next_run_at = case when g.status = 'pending' then coalesce(g.wakes_at, clock_timestamp()) end,
    last_run_at = statement_timestamp() - g.started_ago * interval '1 second',
    payload = coalesce(g.payload::jsonb, t.payload), last_error = null, updated_at = statement_timestamp()
  from given g
  where t.id = any(array[g.id]) and t.fencing_token = g.token and t.locked_by = %(worker)s and t.status = 'running'
  returning t.id, t.queue, t.next_run_at, t.status, g.awaits, g.wakes_at, g.payload, g.unasked
),
over as (
  delete from pgsched.durable_runs r using suspended s where r.task_id = s.id and s.payload is not null
),
waiting as (
  update pgsched.durable_runs r
  set awaits = case when s.awaits <> '' then string_to_array(s.awaits, chr(31)) end,
    wakes_at = case when s.awaits <> '' then s.wakes_at end,
    unasked = case when s.unasked <> '' then string_to_array(s.unasked, chr(31)) end
  from suspended s
  where r.task_id = s.id and s.payload is null
),
woken as (
  -- The next part may become due while other workers sleep; this one checks by itself.
  select pgsched.notify('pgsched', next.queue)
  from (select queue::text, min(next_run_at) as due from suspended where status = 'pending' group by queue) next
  where exists (
    select from pgsched.workers w
    where w.id <> %(worker)s and w.sleeping_until > next.due
      and (w.queues @> array[next.queue] or next.queue like any (w.patterns)))
)
select count(*), (select count(*) from woken) from suspended
