-- The settings of the queues that have some, or of one of them; the time of its rates as an interval, however it was written.
select q.name::text, q.ordering, q.limits, (q.limits ->> 'per')::interval as per, q.ageing, q.events,
  q.retention, q.retention_count, q.dead_retention, q.dead_retention_count, q.archive
from pgsched.queues q
where %(queue)s::text is null or q.name = %(queue)s::text
order by q.name
