-- Pins the one right plan for claims and finishes, an index probe per row, whatever the statistics show about a table
-- that was empty when they were gathered. Statements join with `id = any(array[x.id])` for the same reason: unlike `id
-- = x.id` it can only be looked up row by row, never merged with a scan of the whole index.
select set_config('enable_indexscan', 'on', false), set_config('enable_nestloop', 'on', false),
  set_config('enable_seqscan', 'off', false), set_config('enable_bitmapscan', 'off', false),
  set_config('enable_hashjoin', 'off', false), set_config('enable_mergejoin', 'off', false),
  set_config('plan_cache_mode', 'force_generic_plan', false), set_config('jit', 'off', false)
