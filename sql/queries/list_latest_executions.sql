-- Lists the attempts that started after an instant and before a cursor, the latest first. The range makes it quick: the
-- index knows which blocks it covers.
select e.*, (
    select pgsched.run_by(t.parent_id, t.idempotency_key, t.created_by)
    from pgsched.tasks t where t.id = any(array[e.task_id])) as run_by,
  h.hostname, h.pid
from pgsched.executions e
left join pgsched.visible_worker_hosts h on h.id = e.worker_id
where e.started_at >= %(since)s::timestamptz
  and (%(before_at)s::timestamptz is null
    or (e.started_at <= %(before_at)s::timestamptz and (e.started_at, e.task_id, e.fencing_token)
      < (%(before_at)s::timestamptz, %(before_id)s::bigint, %(before_token)s::bigint)))
  and (%(queue)s::text is null or e.queue = %(queue)s::text)
  and (%(task_type)s::text is null or e.task_type = %(task_type)s::text)
  -- The first of these matches the predicate of the index of attempts that did not complete.
  and (%(status)s::text is null or %(status)s::text = 'completed' or e.status <> 'completed')
  and (%(status)s::text is null
    or case when e.status = 'cancelled' and e.attempt = 0 then 'snoozed' else e.status end = %(status)s::text)
order by e.started_at desc, e.task_id desc, e.fencing_token desc
limit %(limit)s
