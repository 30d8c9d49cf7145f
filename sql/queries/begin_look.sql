-- Returns the database's time, and disables parallel plans until the end of the transaction, so that a dashboard query
-- uses one core and leaves the others to the workers.
select clock_timestamp() as now, set_config('max_parallel_workers_per_gather', '0', true),
  set_config('jit', 'off', true)
