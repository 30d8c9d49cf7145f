-- Releases a lock. Returns false when its owner no longer held it.
select pgsched.unlock(%(name)s, %(owner)s) as changed
