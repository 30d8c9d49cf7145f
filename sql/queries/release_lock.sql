-- A lock is given back; false when its owner did not have it any more.
select pgsched.unlock(%(name)s, %(owner)s) as changed
