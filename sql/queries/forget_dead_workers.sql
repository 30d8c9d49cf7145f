-- Deletes workers that died without deregistering: they have been silent for three leases. Also deletes their set-aside
-- lists, and the remains of workers whose own row a server crash has erased.
with dead as (delete from pgsched.workers where heartbeat_at < now() - 3 * lease returning id)
delete from pgsched.set_aside s
where s.worker_id in (select id from dead)
  or s.worker_id not in (select id from pgsched.workers) and s.since < now() - interval '1 hour'
