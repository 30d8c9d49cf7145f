-- Counts the dead letters of each queue, up to a cap, the latest first.
select d.queue::text as queue, count(*) as number
from (select t.queue from pgsched.tasks t where t.died_at is not null order by t.died_at desc limit %(cap)s) d
group by d.queue
