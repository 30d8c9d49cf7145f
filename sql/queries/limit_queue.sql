-- The limits of a queue over all workers, instead of those it had.
select pgsched.limit_queue(
  %(queue)s::text, concurrency => %(concurrency)s::integer, concurrency_per_key => %(concurrency_per_key)s::integer,
  rate => %(rate)s::integer, rate_per_key => %(rate_per_key)s::integer,
  per => coalesce(%(per)s::interval, '1 second'))
