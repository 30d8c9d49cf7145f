-- Workers that died without a word: silent for three leases. What a worker has set aside goes with it, or when its own
-- row was lost with a crash of the server and it did not come back.
with dead as (delete from pgsched.workers where heartbeat_at < now() - 3 * lease returning id)
delete from pgsched.set_aside s
where s.worker_id in (select id from dead)
  or s.worker_id not in (select id from pgsched.workers) and s.since < now() - interval '1 hour'
