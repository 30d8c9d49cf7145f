-- Counts the tasks that are waiting, running or dead, by queue, from two partial indexes and never from finished rows.
-- Its results are cached, since the first part reads every row that has not finished.
select queue::text, status::text, count(*), count(*) filter (where status = 'pending' and next_run_at <= now()),
  extract(epoch from now() - min(next_run_at) filter (where status = 'pending' and next_run_at <= now()))::float8
from pgsched.tasks
where next_run_at is not null and enabled
group by queue, status
union all
select queue::text, 'dead', count(*), 0, null
from pgsched.tasks
where died_at is not null
group by queue
