-- Skips the booked tick of a schedule; what was skipped, and what is booked instead.
select tick, next_tick from pgsched.skip_next(%(id)s)
