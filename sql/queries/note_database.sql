-- Notes that the tasks belong to this database, unless one has been noted.
select pgsched.note_database() as changed
