-- Reads the settings of a queue and the usage of its limits, by the rules of pgsched.claim_queue: a slot counts while
-- its task runs under its token; a start counts within the period of the rate. Slots and starts are found by their
-- primary keys, and there are no more of them than the limits allow; at most %(cap)s slots are read.
with queue as (
  select n.name, coalesce(q.paused, false) as paused, q.paused_at, q.paused_by,
    coalesce(q.ordering, 'fifo') as ordering, q.ageing is not null as has_ageing, clock_timestamp() as now,
    (q.limits ->> 'concurrency')::integer as concurrency,
    (q.limits ->> 'concurrency_per_key')::integer as concurrency_per_key, (q.limits ->> 'rate')::integer as rate,
    (q.limits ->> 'rate_per_key')::integer as rate_per_key, coalesce(q.limits ->> 'per', '1 second') as per,
    extract(epoch from coalesce(q.limits ->> 'per', '1 second')::interval) as seconds
  from (select %(queue)s::text as name) n
  left join pgsched.queues q on q.name = n.name
),
window_of_rates as (
  select queue.now - make_interval(secs => greatest(queue.seconds * 1.01, queue.seconds + 0.01)::float8) as horizon
  from queue
),
slots as (
  select s.key, s.task_id
  from queue
  cross join lateral (
    select s.key, s.task_id, s.fencing_token
    from pgsched.slots s
    where s.queue = queue.name limit %(cap)s) s
  join pgsched.tasks t on t.id = any(array[s.task_id]) and t.fencing_token = s.fencing_token
    and t.status = 'running' and t.locked_until >= queue.now
  where queue.concurrency is not null or queue.concurrency_per_key is not null
)
select queue.now, queue.name, queue.paused, queue.paused_at, queue.paused_by, queue.ordering, queue.has_ageing,
  queue.concurrency, queue.concurrency_per_key, queue.rate, queue.rate_per_key, queue.per,
  (select count(*) from slots)::integer as concurrency_used,
  (select count(*) from slots where slots.key = %(key)s::text)::integer as key_used,
  coalesce((select array_agg(h.task_id) from (select slots.task_id from slots order by 1 limit 5) h), '{}') as holders,
  coalesce((
    select array_agg(h.task_id)
    from (select slots.task_id from slots where slots.key = %(key)s::text order by 1 limit 5) h), '{}') as key_holders,
  coalesce(started.number, 0)::integer as rate_used, started.oldest + (queue.now - w.horizon) as rate_again_at,
  coalesce(of_key.number, 0)::integer as key_rate_used, of_key.oldest + (queue.now - w.horizon) as key_rate_again_at,
  coalesce(
    (select d.cost from pgsched.task_defaults d where d.kind = 'handler' and d.name = %(task_type)s::text),
    (select d.cost from pgsched.task_defaults d where d.kind = 'queue' and d.name = queue.name), 1) as cost
from queue
cross join window_of_rates w
cross join lateral (
  select sum(s.number) as number, min(s.at) as oldest
  from pgsched.starts s
  where s.queue = queue.name and s.key = '' and s.at > w.horizon and queue.rate is not null) started
cross join lateral (
  select sum(s.number) as number, min(s.at) as oldest
  from pgsched.starts s
  where s.queue = queue.name and s.key = %(key)s::text and s.key <> '' and s.at > w.horizon
    and queue.rate_per_key is not null) of_key
