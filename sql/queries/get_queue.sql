-- Returns the settings of one queue, or the defaults.
select n.name, coalesce(q.paused, false) as paused, coalesce(q.ordering, 'fifo') as ordering,
  coalesce(q.limits, '{}') as limits, q.ageing, coalesce(q.events, false) as events, q.retention, q.retention_count,
  q.dead_retention, q.dead_retention_count, q.archive,
  jsonb_strip_nulls(to_jsonb(d)) - array['kind', 'name'] as defaults
from (select %(queue)s::text as name) n
left join pgsched.queues q on q.name = n.name
left join pgsched.task_defaults d on d.kind = 'queue' and d.name = n.name
