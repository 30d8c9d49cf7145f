-- Reads durations and waiting times of the attempts at a type, from counts: the bins that are not empty.
select h.longer_than, h.up_to, h.runs, h.waits
from pgsched.type_histogram(
  %(task_type)s::text, %(within)s::text::interval, %(ago)s::text::interval, %(queue)s::text) h
