-- Stores the findings of a health scan for all workers to report, unless another worker has taken the turn since.
update pgsched.watchdog w
set findings = %(findings)s::text::jsonb,
  complete_at = case when %(complete)s::boolean then now() else w.complete_at end
where w.worker_id = %(worker)s
