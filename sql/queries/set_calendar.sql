-- Creates a calendar or replaces its days; a trigger books the schedules that name it anew. An existing row keeps the
-- xmax of the lock that the conflict took, which tells it from a new one.
insert into pgsched.calendars as c (name, days) values (%(name)s::text, %(days)s::text[])
on conflict (name) do update set days = excluded.days
returning case when c.xmax = 0 then 'created' else 'replaced' end as outcome
