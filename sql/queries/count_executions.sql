-- Counts finished attempts by minute, queue and outcome, for the current minute and a number of minutes before it.
select date_trunc('minute', e.finished_at) as minute, e.queue, e.status, count(*) as number,
  coalesce(sum(e.duration_ms), 0)::float8 as milliseconds
from pgsched.executions e
where e.finished_at >= date_trunc('minute', now()) - %(minutes)s * interval '1 minute'
group by 1, 2, 3
