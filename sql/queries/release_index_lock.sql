-- Releases the lock of try_index_lock.
select pg_advisory_unlock(hashtextextended('pgsched.indexes', 0))
