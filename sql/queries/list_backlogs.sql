-- Lists the number of due tasks per minute, of every queue or of one.
select b.queue, b.at, b.due, b.exact, b.oldest_due_at
from pgsched.backlogs b
where (%(queue)s::text is null or b.queue = %(queue)s::text)
  and b.at > now() - %(seconds)s::float8 * interval '1 second'
order by b.queue, b.at
