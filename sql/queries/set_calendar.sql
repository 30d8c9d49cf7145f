-- Makes a calendar or replaces its days; a trigger plans the schedules that name it afresh. A row that was there keeps the
-- mark of the lock that the conflict took.
insert into pgsched.calendars as c (name, days) values (%(name)s::text, %(days)s::text[])
on conflict (name) do update set days = excluded.days
returning case when c.xmax = 0 then 'created' else 'replaced' end as outcome
