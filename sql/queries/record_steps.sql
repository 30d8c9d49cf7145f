-- Records steps of durable runs in one statement, and starts the run with its first step. Behind the fence: rows of a
-- lost claim are left out, and so is a step that is already over, unless the same claim has recorded it the same way
-- (the answer was lost). An event is consumed with the step that takes it. Returns the places of the recorded steps.
with given as (
  select *
  from unnest(%(ids)s::bigint[], %(tokens)s::bigint[], %(begun)s::timestamptz[], %(ticks)s::integer[],
    %(versions)s::text[], %(names)s::text[], %(keys)s::text[], %(kinds)s::text[], %(statuses)s::text[],
    %(attempts)s::integer[], %(results)s::text[], %(errors)s::text[], %(events)s::bigint[], %(wakes)s::timestamptz[],
    %(started)s::timestamptz[], %(finished)s::timestamptz[])
    with ordinality as g(id, token, began_at, tick_number, code_version, name, key, kind, status, attempts, result,
      error, event_id, wakes_at, started_at, finished_at, place)
),
mine as materialized (
  select t.id
  from pgsched.tasks t
  where t.id = any(%(ids)s::bigint[]) and t.locked_by = %(worker)s and t.status = 'running'
    and (t.id, t.fencing_token) in (select g.id, g.token from given g)
  order by t.id
  for share
),
allowed as (
  select g.* from given g where g.id in (select m.id from mine m)
),
runs as (
  insert into pgsched.durable_runs as r (task_id, tick_number, began_at, code_version)
  select distinct on (a.id) a.id, a.tick_number, a.began_at, a.code_version from allowed a order by a.id
  on conflict (task_id) do update
  set tick_number = excluded.tick_number, began_at = excluded.began_at, code_version = excluded.code_version,
    awaits = null, wakes_at = null, unasked = null
  where r.began_at <> excluded.began_at
),
consumed as (
  update pgsched.durable_events e
  set consumed_at = coalesce(e.consumed_at, clock_timestamp())
  from allowed a
  where e.id = a.event_id and e.task_id = a.id and (e.consumed_at is null or exists (
    select from pgsched.durable_steps s
    where s.task_id = a.id and s.began_at = a.began_at and s.name = a.name and s.key = a.key and s.event_id = e.id))
  returning e.id
),
recorded as (
  insert into pgsched.durable_steps as s (
    task_id, began_at, tick_number, name, key, kind, status, attempts, result, error, event_id, wakes_at, started_at,
    finished_at, fencing_token)
  select a.id, a.began_at, a.tick_number, a.name, a.key, a.kind, a.status, a.attempts, a.result::jsonb, a.error,
    a.event_id, a.wakes_at, a.started_at, a.finished_at, a.token
  from allowed a
  where a.event_id is null or a.event_id in (select c.id from consumed c)
  on conflict (task_id, began_at, name, key) do update
  set status = excluded.status, attempts = excluded.attempts, result = excluded.result, error = excluded.error,
    event_id = excluded.event_id, wakes_at = excluded.wakes_at, finished_at = excluded.finished_at,
    fencing_token = excluded.fencing_token
  where s.status in ('waiting', 'failing') or s.status = 'failed' and excluded.status = 'failing'
    or s.fencing_token = excluded.fencing_token and s.status = excluded.status
  returning s.task_id, s.name, s.key
)
select g.place::integer - 1 as place
from given g
join recorded r on r.task_id = g.id and r.name = g.name and r.key = g.key
