-- Lists the results of the tasks of one type in one queue.
select t.id, t.result from pgsched.tasks t
where t.queue = %(queue)s and t.task_type = %(task_type)s and t.status = 'completed'
order by t.id
