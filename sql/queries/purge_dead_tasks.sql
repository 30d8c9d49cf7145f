-- Deletes dead tasks for good: all that fit, or those that have been dead for so long.
with gone as (
  delete from pgsched.tasks t
  where t.died_at is not null
    and (%(queue)s::text is null or t.queue = %(queue)s::text)
    and (%(task_type)s::text is null or t.task_type = %(task_type)s::text)
    and (%(older_than)s::text is null or t.died_at < now() - %(older_than)s::text::interval)
  returning 1
)
select count(*) as number from gone
