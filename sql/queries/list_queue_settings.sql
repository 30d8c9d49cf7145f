-- Lists the settings of one queue, or of every queue that has settings; the period of a rate as an interval, in
-- whatever form it was written.
select q.name::text, q.ordering, q.limits, (q.limits ->> 'per')::interval as per, q.ageing, q.events,
  q.retention, q.retention_count, q.dead_retention, q.dead_retention_count, q.archive,
  jsonb_strip_nulls(to_jsonb(d)) - array['kind', 'name'] as defaults
from pgsched.queues q
left join pgsched.task_defaults d on d.kind = 'queue' and d.name = q.name
where %(queue)s::text is null or q.name = %(queue)s::text
order by q.name
