-- Lets one process create the template of a test run while the others wait; released when the session ends.
select pg_advisory_lock(hashtextextended(%(name)s, 0))
