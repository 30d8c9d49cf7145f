-- Returns whether the tasks belong to this database, and the database that they belong to.
select s.* from pgsched.database_state() s
