-- The time of the database, which is the one that counts; and until the end of the transaction nothing is read by several
-- processes: somebody who looks around takes one core at most, and leaves the others to the workers.
select clock_timestamp() as now, set_config('max_parallel_workers_per_gather', '0', true), set_config('jit', 'off', true)
