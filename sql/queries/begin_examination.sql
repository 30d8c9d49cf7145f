-- Prepares a transaction for one diagnostic query: read-only, single-process, time-limited, never waiting for a lock,
-- and preferring indexes. Returns the database's time.
select clock_timestamp() as now,
  set_config('statement_timeout', %(milliseconds)s::int::text, true), set_config('lock_timeout', '500', true),
  set_config('transaction_read_only', 'on', true), set_config('max_parallel_workers_per_gather', '0', true),
  set_config('jit', 'off', true), set_config('enable_seqscan', 'off', true)
