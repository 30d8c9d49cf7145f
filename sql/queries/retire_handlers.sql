-- Finds registered types that neither the code nor a live worker has any more, and retires them if requested: they no
-- longer set options of their tasks.
with gone as (
  select h.task_type
  from pgsched.handlers h
  where h.retired_at is null and h.task_type <> all(%(task_types)s::text[])
    and not exists (
      select from pgsched.workers w
      where w.heartbeat_at > now() - 3 * w.lease and h.task_type = any(w.task_types))
  order by h.task_type
),
retired as (
  update pgsched.handlers h set retired_at = now() from gone where %(retire)s::boolean and h.task_type = gone.task_type
),
unsaid as (
  delete from pgsched.task_defaults d using gone
  where %(retire)s::boolean and d.kind = 'handler' and d.name = gone.task_type
)
select task_type from gone
