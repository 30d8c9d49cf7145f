-- One process makes the template of a run of tests, the others wait; released when the session ends.
select pg_advisory_lock(hashtextextended(%(name)s, 0))
