-- Before the finish in a handler's transaction: when that began, which tells whether it is the one that the worker began.
-- Until the commit undo what the handler may have set to its own ends, and set the planner as tune_session.sql does.
select transaction_timestamp(), set_config('role', %(role)s, true), set_config('statement_timeout', '0', true),
  set_config('lock_timeout', '0', true), set_config('enable_indexscan', 'on', true), set_config('enable_nestloop', 'on', true),
  set_config('enable_seqscan', 'off', true),
  set_config('enable_bitmapscan', 'off', true), set_config('enable_hashjoin', 'off', true),
  set_config('enable_mergejoin', 'off', true), set_config('jit', 'off', true)
