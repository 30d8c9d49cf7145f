-- Returns the days of the calendars that a cron expression names, for a preview.
select c.name, c.days from pgsched.calendars c where c.name = any(%(names)s::text[])
