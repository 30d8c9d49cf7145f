-- Marks this worker as awake: inserts need not notify it.
update pgsched.workers set sleeping_until = null where id = %(worker)s
