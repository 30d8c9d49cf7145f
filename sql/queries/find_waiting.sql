-- Returns waiting tasks, with payloads, by id, and how far the search went: it inspects a limited number of rows
-- (scan), so that a page is quick however many others the table has.
select reach.scanned_to, w.id, w.task_type, w.queue, w.status, w.schedule_type, w.payload, w.fired
from (
  select max(s.id) as scanned_to
  from (select t.id from pgsched.tasks t where t.id > %(after_id)s order by t.id limit %(scan)s) s
) reach
left join lateral (
  select t.id, t.task_type, t.queue, t.status, t.schedule_type, t.payload,
    t.fired is not null and t.schedule_type = 'one_time' as fired
  from pgsched.tasks t
  where t.id > %(after_id)s and t.id <= reach.scanned_to
    and (t.status in ('pending', 'blocked') or t.status = 'running' and t.schedule_type <> 'one_time')
  order by t.id
  limit %(limit)s
) w on true
