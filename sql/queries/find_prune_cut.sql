-- Returns the last row of a queue to delete: it ended before the cutoff, or is not among the latest rows to keep.
-- Returns no row when there is nothing to delete.
select c.at, c.id
from (
  select now() - %(older_than)s::text::interval as at, 9223372036854775807 as id
  where %(older_than)s::text is not null
  union all
  (select t.completed_at, t.id
   from pgsched.tasks t
   where not %(dead)s and %(keep)s::bigint is not null and t.queue = %(queue)s and t.completed_at is not null
   order by t.completed_at desc, t.id desc
   offset %(keep)s::bigint limit 1)
  union all
  (select t.died_at, t.id
   from pgsched.tasks t
   where %(dead)s and %(keep)s::bigint is not null and t.queue = %(queue)s and t.died_at is not null
   order by t.died_at desc, t.id desc
   offset %(keep)s::bigint limit 1)
) c
order by c.at desc, c.id desc
limit 1
