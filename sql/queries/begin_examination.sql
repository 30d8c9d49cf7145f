-- Begin a look at one thing that may be wrong, at the head of a transaction: it changes nothing, takes one core, ends by
-- itself, waits for no lock, and looks things up by an index where there is one. Returns the time of the database.
select clock_timestamp() as now,
  set_config('statement_timeout', %(milliseconds)s::int::text, true), set_config('lock_timeout', '500', true),
  set_config('transaction_read_only', 'on', true), set_config('max_parallel_workers_per_gather', '0', true),
  set_config('jit', 'off', true), set_config('enable_seqscan', 'off', true)
