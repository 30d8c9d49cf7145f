-- The settings of one queue; the defaults for one that has none.
select n.name, coalesce(q.paused, false) as paused, coalesce(q.ordering, 'fifo') as ordering,
  coalesce(q.limits, '{}') as limits, q.ageing, coalesce(q.events, false) as events
from (select %(queue)s::text as name) n
left join pgsched.queues q on q.name = n.name
