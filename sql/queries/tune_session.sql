-- The claim and the finish are right for one plan, by index, whatever the statistics say of a table that was empty
-- when they were taken.
select set_config('enable_seqscan', 'off', false), set_config('enable_bitmapscan', 'off', false),
  set_config('enable_hashjoin', 'off', false), set_config('enable_mergejoin', 'off', false),
  set_config('jit', 'off', false)
