-- Returns whether a worker has older code than the newest that has registered its handler, and since when the task
-- waits.
select m.newer ->> 'version' as version, m.newer ->> 'since' as since, m.newer is not null as is_older,
  coalesce(m.waits, 0) as waits, coalesce(m.seconds, 0) as seconds
from pgsched.note_misfit(%(id)s::bigint, %(task_type)s::text, %(version)s::text, %(payload_schema)s::jsonb) m
