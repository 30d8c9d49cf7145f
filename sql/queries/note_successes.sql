-- Records the last success of each watched task, since its history, or the child that succeeded, may be deleted before
-- the next one. A row locked by another session is recorded the next time.
with found as materialized (
  select w.task_id, w.no_success_since as since
  from pgsched.watched_tasks w
  where w.no_success_since <= now()
)
update pgsched.tasks t
set judged_from = f.since
from found f
where t.id = f.task_id and t.id in (
  select l.id
  from pgsched.tasks l
  join found f on f.task_id = l.id and f.since is distinct from l.judged_from
  for no key update of l skip locked)
