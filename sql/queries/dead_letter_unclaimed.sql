-- Marks rows that cannot be claimed as dead, each with its own error. Returns the rows for which the database rejects
-- even that.
select b.id, b.attempts, b.refused from pgsched.bury_unclaimed(%(ids)s::bigint[], %(errors)s::text[]) b
