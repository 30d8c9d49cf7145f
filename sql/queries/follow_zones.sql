-- Moves scheduled times once that were booked by time zone rules which the database has changed since.
select zone, schedules from pgsched.follow_zones()
