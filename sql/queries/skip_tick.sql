-- Skips the booked tick of a schedule. Returns that tick, and the one booked instead.
select tick, next_tick from pgsched.skip_next(%(id)s)
