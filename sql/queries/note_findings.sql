-- What was found, for all workers to show; unless another one has taken the turn meanwhile.
update pgsched.watchdog w
set findings = %(findings)s::text::jsonb, complete_at = case when %(complete)s::boolean then now() else w.complete_at end
where w.worker_id = %(worker)s
