-- Reads the outcomes of each type within a time range, from counts: one range of the primary key of type_counts.
select s.type as task_type, s.processed, s.completed, s.failed, s.timed_out, s.cancelled, s.lost, s.snoozed,
  coalesce(s.per_second, 0) as per_second, s.failed_share, s.run_mean, s.run_p50, s.run_p95, s.run_p99, s.run_max,
  s.wait_mean, s.wait_p50, s.wait_p95, s.wait_p99, s.wait_max
from pgsched.type_stats(
  %(within)s::text::interval, %(ago)s::text::interval, %(task_type)s::text, %(queue)s::text) s
