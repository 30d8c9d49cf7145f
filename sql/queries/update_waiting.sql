-- Gives up to %(limit)s waiting tasks the current options of their handler or queue, where they have the previous ones.
-- Options of their own are kept. Returns how many it read, how many it changed, and the last id.
with before as (
  select jsonb_populate_record(null::pgsched.task_defaults, %(before)s::jsonb) as d
),
after as (
  select jsonb_populate_record(null::pgsched.task_defaults, %(after)s::jsonb) as d
),
looked_at as (
  select t.id from pgsched.tasks t
  where t.task_type = %(task_type)s and t.queue = %(queue)s and t.status in ('pending', 'blocked')
    and t.id > %(after_id)s
  order by t.id limit %(limit)s
  for no key update
),
changed as (
  update pgsched.tasks t
  set priority = case when t.priority = (b.d).priority then (a.d).priority else t.priority end,
    max_attempts = case when t.max_attempts = (b.d).max_attempts then (a.d).max_attempts else t.max_attempts end,
    backoff = case when t.backoff = (b.d).backoff then (a.d).backoff else t.backoff end,
    backoff_delay = case when t.backoff_delay = (b.d).backoff_delay then (a.d).backoff_delay else t.backoff_delay end,
    backoff_max = case when t.backoff_max = (b.d).backoff_max then (a.d).backoff_max else t.backoff_max end,
    backoff_factor = case when t.backoff_factor is not distinct from (b.d).backoff_factor then (a.d).backoff_factor
      else t.backoff_factor end,
    backoff_jitter = case when t.backoff_jitter is not distinct from (b.d).backoff_jitter then (a.d).backoff_jitter
      else t.backoff_jitter end,
    timeout = case when t.timeout is not distinct from (b.d).timeout then (a.d).timeout else t.timeout end
  from looked_at, before b, after a
  where t.id = looked_at.id and (
    t.priority = (b.d).priority and (a.d).priority <> t.priority
    or t.max_attempts = (b.d).max_attempts and (a.d).max_attempts <> t.max_attempts
    or t.backoff = (b.d).backoff and (a.d).backoff <> t.backoff
    or t.backoff_delay = (b.d).backoff_delay and (a.d).backoff_delay <> t.backoff_delay
    or t.backoff_max = (b.d).backoff_max and (a.d).backoff_max <> t.backoff_max
    or t.backoff_factor is not distinct from (b.d).backoff_factor
      and (a.d).backoff_factor is distinct from t.backoff_factor
    or t.backoff_jitter is not distinct from (b.d).backoff_jitter
      and (a.d).backoff_jitter is distinct from t.backoff_jitter
    or t.timeout is not distinct from (b.d).timeout and (a.d).timeout is distinct from t.timeout)
  returning t.id
)
select (select count(*) from looked_at) as looked_at, (select count(*) from changed) as changed,
  (select max(id) from looked_at) as last_id
