-- Lists the queues whose events are announced. Workers read it when the settings of a queue change, and periodically.
select q.name::text from pgsched.queues q where q.events
