-- One at a time makes indexes in this database; of the session, as no transaction may be open while they are made.
select pg_try_advisory_lock(hashtextextended('pgsched.indexes', 0))
