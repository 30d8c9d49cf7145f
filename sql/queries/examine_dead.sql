-- Counts the tasks that died in the last hour, up to a cap, by queue and type.
select d.queue::text as queue, d.task_type::text as task_type, count(*) as number
from (select t.queue, t.task_type from pgsched.tasks t
      where t.died_at > now() - interval '1 hour' order by t.died_at desc limit %(cap)s) d
group by d.queue, d.task_type
order by number desc, 1, 2
