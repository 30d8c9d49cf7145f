-- Counts the dead tasks that match: those that purge_dead_tasks would delete or retry_dead_tasks retry.
select count(*) as number
from pgsched.tasks t
where t.died_at is not null
  and (%(queue)s::text is null or t.queue = %(queue)s::text)
  and (%(task_type)s::text is null or t.task_type = %(task_type)s::text)
  and (%(older_than)s::text is null or t.died_at < now() - %(older_than)s::text::interval)
