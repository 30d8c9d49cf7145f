-- Keeps workers from starting in this database until somebody adopts it.
select pgsched.hold_database(%(by)s::text) as changed
