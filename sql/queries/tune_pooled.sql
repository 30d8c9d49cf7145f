-- Like tune_session.sql, for the transaction that it starts: behind a pooler the next one may run in another session.
select set_config('enable_indexscan', 'on', true), set_config('enable_nestloop', 'on', true),
  set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
  set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
  set_config('jit', 'off', true)
