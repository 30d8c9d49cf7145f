-- Reads the outcomes of a type in each bucket of a time range, from counts; null: of all types.
select h.at, h.completed, h.failed, h.timed_out, h.cancelled, h.lost, h.snoozed, h.run_p50, h.run_p95, h.run_p99,
  h.wait_p50, h.wait_p95, h.wait_p99
from pgsched.type_history(
  %(task_type)s::text, %(within)s::text::interval, %(ago)s::text::interval, %(queue)s::text) h
