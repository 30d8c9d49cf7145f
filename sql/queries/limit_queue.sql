-- Replaces the limits of a queue across all workers.
select pgsched.limit_queue(
  %(queue)s::text, concurrency => %(concurrency)s::integer, concurrency_per_key => %(concurrency_per_key)s::integer,
  rate => %(rate)s::integer, rate_per_key => %(rate_per_key)s::integer,
  per => coalesce(%(per)s::interval, '1 second'))
