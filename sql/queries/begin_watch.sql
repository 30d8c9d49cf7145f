-- Takes the turn to run the health scan, unless a worker took it a moment ago. Returns the previous findings, and
-- whether a complete scan is due.
insert into pgsched.watchdog as w (looked_at, worker_id) values (now(), %(worker)s)
on conflict (only_row) do update set looked_at = now(), worker_id = excluded.worker_id
where w.looked_at < now() - %(every)s::float8 * interval '1 second'
returning w.findings, coalesce(w.complete_at < now() - %(complete)s::float8 * interval '1 second', true)
