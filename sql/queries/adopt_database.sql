-- Lets the tasks belong to this database, and ends a hold.
select pgsched.adopt_database(%(by)s::text) as changed
