-- Finds the options of a task for which its handler or its queue sets a value.
select distinct o.key as option
from pgsched.task_defaults d
cross join jsonb_each(to_jsonb(d) - array['kind', 'name']) o
where (d.kind, d.name) in (('handler', %(task_type)s::text), ('queue', %(queue)s::text)) and o.value <> 'null'
