-- How many attempts ended in each queue within the last seconds, of so many at the most: the history is looked up by the
-- summaries of its block ranges, which the settings of begin_examination see to.
select e.queue, count(*) as number
from (select e.queue from pgsched.executions e
      where e.finished_at > now() - %(seconds)s::float8 * interval '1 second' and e.started_at > now() - interval '1 day'
      limit %(cap)s) e
group by e.queue
