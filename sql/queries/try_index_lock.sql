-- Lets one session at a time create indexes in this database. It is a session lock, because no transaction may be open
-- while they are created.
select pg_try_advisory_lock(hashtextextended('pgsched.indexes', 0))
