-- Lists the register, or one type of it, with the number of live workers that have the handler.
select h.task_type, jsonb_strip_nulls(to_jsonb(d)) - array['kind', 'name'] as defaults, h.payload_schema,
  h.result_schema, h.description, h.version, h.strict, h.durable, h.registered_at, h.seen_at, h.retired_at,
  (select coalesce(jsonb_agg(v.value - 'code' order by v.place), '[]')
   from jsonb_array_elements(h.versions) with ordinality as v(value, place)) as versions,
  (select count(*) from pgsched.workers w
   where w.heartbeat_at > now() - 3 * w.lease and h.task_type = any(w.task_types)) as workers
from pgsched.handlers h
left join pgsched.task_defaults d on d.kind = 'handler' and d.name = h.task_type
where %(task_type)s::text is null or h.task_type = %(task_type)s::text
order by h.task_type
