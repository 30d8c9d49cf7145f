-- Counts what invalidates a measurement: attempts made by foreign workers, and tasks that did not complete.
select
  (select count(*) from pgsched.executions e
   where e.queue = %(queue)s and e.started_at >= %(since)s and e.worker_id <> all(%(workers)s::uuid[])) as strangers,
  (select count(*) from pgsched.tasks t where t.queue = %(queue)s and t.status <> 'completed') as unfinished
