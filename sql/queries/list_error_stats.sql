-- Reads the errors of attempts that failed within a time range, from counts: one range of the primary key of
-- error_counts.
select e.id, e.exception, e.message, e.number, e.first_seen, e.last_seen, e.task_types, e.queues, e.versions, e.task_id,
  e.trend
from pgsched.error_stats(
  %(within)s::text::interval, %(ago)s::text::interval, %(task_type)s::text, %(queue)s::text, %(id)s::text) e
limit %(limit)s
