-- Lists the columns that determine the coming ticks of schedules, and whether their queue is paused: of the latest
-- schedules, by their partial index, without payloads.
select t.id, t.task_type, t.task_name, t.queue, t.cron_expression, t.timezone, t.start_date, t.end_date,
  t.repeat_interval, t.repeat_count, t.execution_count, t.on_missed, t.catchup_window, t.jitter, t.enabled, t.status,
  t.scheduled_for, t.next_run_at, t.started_at, t.attempts, t.planned_from, coalesce(q.paused, false) as paused
from pgsched.tasks t
left join pgsched.queues q on q.name = t.queue
where t.schedule_type <> 'one_time'
  and (%(queue)s::text is null or t.queue = %(queue)s::text)
order by t.id desc
limit %(limit)s
