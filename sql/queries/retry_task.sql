-- Gives a dead task its full number of attempts again.
select pgsched.retry(%(id)s)
