-- Whoever comes next may make indexes.
select pg_advisory_unlock(hashtextextended('pgsched.indexes', 0))
