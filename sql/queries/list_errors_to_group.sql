-- Returns the errors of attempts that ended in these buckets: equal errors of a type and queue as one row, the most
-- frequent ones; the rest of a bucket as one row without a headline. Only the first lines, which name the error, are
-- returned, not the traceback after them.
with found as materialized (
  select date_bin('5 minutes', e.finished_at, timestamptz '2000-01-01 00:00:00+00') as bucket, e.task_type, e.queue,
    left(split_part(coalesce(e.error, ''), e'\n\n', 1), %(headline)s::integer) as headline, count(*) as number,
    min(e.finished_at) as first_seen, max(e.finished_at) as last_seen, max(e.task_id) as task_id
  from pgsched.executions e
  where e.status in ('failed', 'timed_out', 'lost')
    and e.finished_at >= (select min(b) from unnest(%(buckets)s::timestamptz[]) b)
    and e.finished_at < (select max(b) from unnest(%(buckets)s::timestamptz[]) b) + interval '5 minutes'
    and date_bin('5 minutes', e.finished_at, timestamptz '2000-01-01 00:00:00+00') = any(%(buckets)s::timestamptz[])
  group by 1, 2, 3, 4
),
ranked as (
  select f.*,
    row_number() over (order by f.number desc, f.bucket, f.task_type, f.queue, f.headline) <= %(most)s as named
  from found f
)
select r.bucket, r.task_type, r.queue, r.headline, r.number, r.first_seen, r.last_seen, r.task_id
from ranked r where r.named
union all
select r.bucket, '', '', null, sum(r.number)::bigint, min(r.first_seen), max(r.last_seen), null
from ranked r where not r.named group by r.bucket
