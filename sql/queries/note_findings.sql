-- What was found, for all workers to show; unless another one has taken the turn meanwhile.
update pgsched.watchdog w set findings = %(findings)s::text::jsonb where w.worker_id = %(worker)s
