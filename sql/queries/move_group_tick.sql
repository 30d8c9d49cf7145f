-- Moves a group, before it fires, to the tick it fires for if earlier ticks were missed. Its children belong to that
-- tick, and the next one is booked from it.
update pgsched.tasks t
set scheduled_for = %(tick)s
where t.id = %(id)s and t.fencing_token = %(token)s and t.locked_by = %(worker)s and t.status = 'running'
  and t.scheduled_for <> %(tick)s
