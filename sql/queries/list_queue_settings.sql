-- Lists the settings of one queue, or of every queue that has some; the period of a rate as an interval, however it was
-- written.
select q.name::text, q.ordering, q.limits, (q.limits ->> 'per')::interval as per, q.ageing, q.events,
  q.retention, q.retention_count, q.dead_retention, q.dead_retention_count, q.archive
from pgsched.queues q
where %(queue)s::text is null or q.name = %(queue)s::text
order by q.name
