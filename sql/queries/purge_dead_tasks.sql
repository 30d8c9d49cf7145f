-- Deletes dead tasks for good: all that match, or those that died long enough ago, except those that a user's object
-- such as a foreign key keeps.
select count(*) as number
from pgsched.delete_apart(
  array(
    select t.id
    from pgsched.tasks t
    where t.died_at is not null
      and (%(queue)s::text is null or t.queue = %(queue)s::text)
      and (%(task_type)s::text is null or t.task_type = %(task_type)s::text)
      and (%(older_than)s::text is null or t.died_at < now() - %(older_than)s::text::interval)),
  array['dead']) d
where d.refusal is null
