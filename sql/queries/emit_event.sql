-- Sends an event to a durable task, given by id or key. The one parameter is text, as when tasks are scheduled, so that
-- any driver can pass it.
select pgsched.emit(
  coalesce(e.id, pgsched.task_id(e.task_key)), e.name, e.payload::pg_catalog.jsonb, e.key) as id
from pg_catalog.json_to_record(%(tasks)s::pg_catalog.text::pg_catalog.json) as e(
  id bigint, task_key pg_catalog.text, name pg_catalog.text, payload pg_catalog.text, key pg_catalog.text)
