-- Lists names of one kind that start with a text, for completion and for suggestions after a typing error: queues,
-- registered types, ids of workers, or keys of the latest schedules. The other kinds are not read.
select found.name
from (
  select used.name::text from pgsched.queues_in_use() as used(name) where %(kind)s::text = 'queue'
  union
  select q.name::text from pgsched.queues q where %(kind)s::text = 'queue'
  union
  select h.task_type::text from pgsched.handlers h
  where %(kind)s::text = 'type' and h.retired_at is null and h.task_type <> '*'
  union
  select w.id::text from pgsched.workers w where %(kind)s::text = 'worker'
  union
  (select t.idempotency_key::text from pgsched.tasks t
   where %(kind)s::text = 'key' and t.schedule_type <> 'one_time' and t.idempotency_key is not null
   order by t.id desc
   limit 1000)
) found(name)
where starts_with(found.name, %(beginning)s::text)
order by found.name
limit 1000
