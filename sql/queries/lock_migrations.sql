-- Lets one migration run at a time in this database; released when the transaction ends.
select pg_advisory_xact_lock(hashtextextended('pgsched.migrations', 0))
