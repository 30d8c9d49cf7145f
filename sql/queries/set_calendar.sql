-- Creates a calendar or replaces its days; a trigger rebooks the schedules that name it. An existing row keeps the xmax
-- of the lock that the conflict took, which distinguishes it from a new one.
insert into pgsched.calendars as c (name, days) values (%(name)s::text, %(days)s::text[])
on conflict (name) do update set days = excluded.days
returning case when c.xmax = 0 then 'created' else 'replaced' end as outcome
