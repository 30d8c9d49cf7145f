-- Ends rows that cannot be claimed as dead, each with an error of its own, and says to which ones the database refuses that.
select b.id, b.attempts, b.refused from pgsched.bury_unclaimed(%(ids)s::bigint[], %(errors)s::text[]) b
