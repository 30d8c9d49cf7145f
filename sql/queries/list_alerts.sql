-- Lists tasks that have exceeded their alert limits, of one task or of all, the oldest first.
select w.task_id, w.task_type, w.queue, a.kind, a.since, extract(epoch from now() - a.since)::float8 as seconds,
  a."limit", a.row_id
from pgsched.watched_tasks w
cross join lateral (values
  ('silent', w.is_silent, w.no_success_since, w.alert_if_no_success_for, w.task_id),
  ('running', w.runs_too_long, w.running_since, w.alert_if_running_for, w.running_task_id)
) as a(kind, passed, since, "limit", row_id)
where a.passed and (%(task_id)s::bigint is null or w.task_id = %(task_id)s::bigint)
order by a.since, w.task_id, a.kind
limit %(cap)s
