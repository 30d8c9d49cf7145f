-- The queues whose events other programs are told: a worker asks when the settings of a queue change, and now and then.
select q.name::text from pgsched.queues q where q.events
