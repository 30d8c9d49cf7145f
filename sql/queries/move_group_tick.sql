-- Before a group fires: the tick it fires for, where ticks before it were missed. Its children are for that one, and the
-- next is booked from it.
update pgsched.tasks t
set scheduled_for = %(tick)s
where t.id = %(id)s and t.fencing_token = %(token)s and t.locked_by = %(worker)s and t.status = 'running'
  and t.scheduled_for <> %(tick)s
