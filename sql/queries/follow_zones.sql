-- Moves what was booked by rules of time zones that have changed in the database since, once.
select zone, schedules from pgsched.follow_zones()
