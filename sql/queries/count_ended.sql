-- Counts the attempts that ended in each queue within the last seconds, up to a cap. The history is searched by the
-- summaries of its BRIN index, which the settings of begin_examination ensure.
select e.queue, count(*) as number
from (select e.queue from pgsched.executions e
      where e.finished_at > now() - %(seconds)s::float8 * interval '1 second'
        and e.started_at > now() - interval '1 day'
      limit %(cap)s) e
group by e.queue
