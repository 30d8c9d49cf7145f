-- Gives a dead task its full number of attempts again, with another payload if one is given.
select pgsched.retry(%(id)s::bigint, %(payload)s::jsonb)
