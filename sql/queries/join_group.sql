-- The second phase: what came of the children, all of which have ended. No row: the claim was lost.
select ok, result::text, error, seconds from pgsched.join_group(%(id)s, %(token)s)
