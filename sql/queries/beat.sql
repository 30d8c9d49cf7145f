-- The heartbeat: updates this worker's row and renews its leases. Returns the ids that it still owns and whether each
-- lease was renewed; an id that is missing has been lost. A row without an id carries the request made to the worker
-- (see ask_worker.sql). A row locked by another session is skipped rather than waited for, because waiting would let
-- every other lease expire; no worker can claim the locked row meanwhile, and a later heartbeat renews it. Registers
-- the worker again, with the previous request, if a server crash has emptied the unlogged table.
with alive as (
  insert into pgsched.workers as w (id, hostname, pid, queues, patterns, task_types, declared_keys, concurrency,
    running, troubles, started_at, lease, pgsched_version, code_version, state, request, requested_by, requested_at)
  values (%(worker)s, %(hostname)s, %(pid)s, %(queues)s, %(patterns)s, %(task_types)s, %(declared_keys)s,
    %(concurrency)s, %(running)s, %(troubles)s::text::jsonb, now() - %(age)s::float8 * interval '1 second',
    %(lease)s::float8 * interval '1 second', %(pgsched_version)s, %(code_version)s, %(state)s, %(request)s,
    case when %(request)s::text is not null then %(requested_by)s::text end,
    case when %(request)s::text is not null then %(requested_at)s::timestamptz end)
  on conflict (id) do update
  set heartbeat_at = now(), running = excluded.running, troubles = excluded.troubles, state = excluded.state
  returning w.request, w.requested_by, w.requested_at
),
own as (
  select held.id, held.token
  from unnest(%(ids)s::bigint[], %(tokens)s::bigint[]) as held(id, token)
  join pgsched.tasks t on t.id = any(array[held.id]) and t.fencing_token = held.token
    and t.locked_by = %(worker)s and t.status = 'running'
),
free as materialized (
  select t.id
  from own
  join lateral (
    select t.id from pgsched.tasks t
    where t.id = any(array[own.id]) and t.fencing_token = own.token
      and t.locked_by = %(worker)s and t.status = 'running'
    for no key update skip locked
  ) t on true
),
renewed as (
  update pgsched.tasks t
  set locked_until = now() + %(lease)s::float8 * interval '1 second'
  from free
  where t.id = any(array[free.id])
  returning t.id
)
select own.id, own.id in (select id from renewed), null, null, null from own
union all
select null, null, alive.request, alive.requested_by, alive.requested_at from alive
