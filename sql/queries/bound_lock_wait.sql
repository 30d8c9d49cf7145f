-- Whoever has locked one row must not hold up the others of a batch. For the session, or for a transaction behind a pooler.
select set_config('lock_timeout', %(milliseconds)s, %(pooled)s)
