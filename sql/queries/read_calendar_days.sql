-- The days of the calendars that a cron expression names; null when it names none.
select pgsched.calendar_days(%(expression)s::text) as left_out
