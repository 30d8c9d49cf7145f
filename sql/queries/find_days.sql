-- The days of the calendars that an expression names, for a preview.
select c.name, c.days from pgsched.calendars c where c.name = any(%(names)s::text[])
