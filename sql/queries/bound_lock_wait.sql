-- Bounds the wait for row locks, so that one locked row does not hold up the rest of a batch. Applies to the session,
-- or behind a pooler to the transaction.
select set_config('lock_timeout', %(milliseconds)s, %(pooled)s)
