-- Reads a part of the records of one run of a task, in the order of their start: a number of steps up to a position,
-- and all waiting ones, wherever they are. Long results are left out.
with placed as (
  select s.*, row_number() over (order by s.started_at, s.name, s.key) as place, count(*) over () as number
  from pgsched.durable_steps s
  where s.task_id = %(task_id)s and s.began_at = %(began_at)s
),
shown as (
  select p.*, pg_column_size(p.result) <= 16384 and octet_length(p.result::text) <= %(longest)s as is_short
  from placed p
  where p.status = 'waiting' or p.place <= coalesce(%(until)s::bigint, p.number)
    and p.place > coalesce(%(until)s::bigint, p.number) - %(limit)s
)
select s.task_id, s.began_at, s.tick_number, s.name, s.key, s.kind, s.status, s.attempts,
  case when s.is_short then s.result end as result, s.result is not null and not s.is_short as left_out,
  s.error, s.child_id, s.cancels_child, s.event_id, s.wakes_at, s.started_at, s.finished_at, s.fencing_token, s.place,
  s.number
from shown s
order by s.place
