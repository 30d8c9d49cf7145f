-- Where the database's rules of a time zone have changed, what was booked by the old ones moves, once.
select zone, schedules from pgsched.follow_zones()
