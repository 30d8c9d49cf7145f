-- Before the finish in a handler's transaction: when that began, which tells whether it is the one that the worker began.
-- Until the commit undo what the handler may have set to its own ends, and set the planner as tune_session.sql does. It is the
-- first statement, for a short statement_timeout of the handler's could end any other.
select pg_catalog.transaction_timestamp(), pg_catalog.set_config('role', %(role)s, true),
  pg_catalog.set_config('statement_timeout', '0', true), pg_catalog.set_config('lock_timeout', '0', true),
  pg_catalog.set_config('enable_indexscan', 'on', true), pg_catalog.set_config('enable_nestloop', 'on', true),
  pg_catalog.set_config('enable_seqscan', 'off', true), pg_catalog.set_config('enable_bitmapscan', 'off', true),
  pg_catalog.set_config('enable_hashjoin', 'off', true), pg_catalog.set_config('enable_mergejoin', 'off', true),
  pg_catalog.set_config('jit', 'off', true)
