-- All of one task.
select t.* from pgsched.tasks t where t.id = %(id)s
