-- Returns a page of the audit log, the latest first, and how far the search went. Entries of one task are found by its
-- two indexes, of changes to it and to many; other filters inspect a limited number of ids (scan), so that a page is
-- quick however long the log is. One row without an entry means that none matches.
select reach.bottom, e.*
from (
  select case when %(task_id)s::bigint is null
    then coalesce(%(before_id)s::bigint, (select max(id) + 1 from pgsched.audit_log)) - %(scan)s::bigint
    else 0 end as bottom
) reach
left join lateral (
  select a.id, a.at, a.actor, a.role, a.remote, a.action, a.task_id, a.queue, a.target, a.before, a.after, a.task_ids
  from pgsched.audit_log a
  where a.id >= reach.bottom
    and (%(before_id)s::bigint is null or a.id < %(before_id)s::bigint)
    and (%(task_id)s::bigint is null or a.id in (
      select one.id from pgsched.audit_log one where one.task_id = %(task_id)s::bigint
      union all
      select many.id from pgsched.audit_log many where many.task_ids @> array[%(task_id)s::bigint]))
    and (%(actor)s::text is null or a.actor = %(actor)s::text)
    and (%(action)s::text is null or a.action = %(action)s::text
      or starts_with(a.action, %(action)s::text || '.'))
    and (%(queue)s::text is null or a.queue = %(queue)s::text)
  order by a.id desc
  limit %(limit)s
) e on true
order by e.id desc
