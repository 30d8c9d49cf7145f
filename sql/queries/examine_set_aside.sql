-- Lists what workers have set aside, by queue and database error, the longest first.
select s.operation, s.queue, s.reason, count(*) as number,
  (array_agg(s.task_id order by s.since, s.task_id))[1:3] as ids,
  extract(epoch from now() - min(s.since))::float8 as seconds
from (select * from pgsched.set_aside limit %(cap)s) s
group by s.operation, s.queue, s.reason
order by min(s.since)
limit 20
