-- Lists the records of the latest run of a durable task, or of all its runs, the latest run first; the steps of each in
-- the order in which they started. The end of a run's records comes last.
select s.task_id, s.began_at, s.tick_number, s.name, s.key, s.kind, s.status, s.attempts, s.result, s.error, s.child_id,
  s.cancels_child, s.event_id, s.wakes_at, s.started_at, s.finished_at, s.fencing_token
from pgsched.visible_durable_steps s
where s.task_id = %(task_id)s
  and (%(all_runs)s::boolean or s.began_at = coalesce(
    (select r.began_at from pgsched.visible_durable_runs r where r.task_id = %(task_id)s),
    (select max(l.began_at) from pgsched.visible_durable_steps l where l.task_id = %(task_id)s)))
order by s.began_at desc, s.started_at, s.name, s.key
limit %(limit)s
