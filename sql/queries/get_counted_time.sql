-- Returns the buckets of a time range, and up to when the history is counted.
select w.seconds, w.since, w.until, w.covers, (select s.counted_until from pgsched.roll_up_state s) as counted_until
from pgsched.counted_window(%(within)s::text::interval, %(ago)s::text::interval) w
