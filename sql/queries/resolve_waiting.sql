-- Returns the options that a task of these types without options of its own would have now, for each queue in which
-- some wait.
select w.task_type, w.queue, (
  select jsonb_object_agg(o.key, o.value) from jsonb_each(to_jsonb(pgsched.resolved(
    jsonb_populate_record(null::pgsched.tasks, jsonb_build_object('task_type', w.task_type, 'queue', w.queue))))) o
  where o.key = any(%(options)s::text[])) as options
from (
  select distinct t.task_type::text as task_type, t.queue::text as queue
  from pgsched.tasks t
  where t.task_type = any(%(task_types)s::text[]) and t.status in ('pending', 'blocked')
) w
