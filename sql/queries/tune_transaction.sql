-- Runs before the finish in a handler's transaction. Returns when that transaction started, which shows whether it is
-- the one that the worker started. Until the commit it reverts what the handler may have set, and sets the planner as
-- tune_session.sql does. It comes first, because a short statement_timeout set by the handler would end any other
-- statement.
select pg_catalog.transaction_timestamp(), pg_catalog.set_config('role', %(role)s, true),
  pg_catalog.set_config('statement_timeout', '0', true), pg_catalog.set_config('lock_timeout', '0', true),
  pg_catalog.set_config('enable_indexscan', 'on', true), pg_catalog.set_config('enable_nestloop', 'on', true),
  pg_catalog.set_config('enable_seqscan', 'off', true), pg_catalog.set_config('enable_bitmapscan', 'off', true),
  pg_catalog.set_config('enable_hashjoin', 'off', true), pg_catalog.set_config('enable_mergejoin', 'off', true),
  pg_catalog.set_config('jit', 'off', true)
