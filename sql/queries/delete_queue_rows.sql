-- Deletes everything that a measurement left behind, by the queue that only it used.
with gone as (delete from pgsched.tasks where queue = %(queue)s returning 1),
  history as (delete from pgsched.executions where queue = %(queue)s and started_at >= %(since)s returning 1),
  settings as (delete from pgsched.queues where name = %(queue)s returning 1)
select (select count(*) from gone) as tasks, (select count(*) from history) as executions,
  (select count(*) from settings) as queues
