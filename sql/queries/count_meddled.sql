-- What spoils a measurement: attempts at the tasks of its queue by other workers than its own, and tasks that did not complete.
select
  (select count(*) from pgsched.executions e
   where e.queue = %(queue)s and e.started_at >= %(since)s and e.worker_id <> all(%(workers)s::uuid[])) as strangers,
  (select count(*) from pgsched.tasks t where t.queue = %(queue)s and t.status <> 'completed') as unfinished
