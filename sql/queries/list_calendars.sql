-- Lists calendars and how many schedules name each. Names are recognized as in pgsched.calendar_days, once per
-- schedule.
select c.name, c.days, coalesce(named.schedules, 0) as schedules
from pgsched.calendars c
left join (
  select found.names[1] as name, count(distinct t.id) as schedules
  from pgsched.tasks t
  cross join regexp_matches(lower(t.cron_expression collate "C"), '[=,]@([a-z][a-z0-9_-]*)', 'g') as found(names)
  where t.schedule_type <> 'one_time' and t.cron_expression like '%%=%%@%%'
  group by 1) named on named.name = c.name
where %(name)s::text is null or c.name = %(name)s::text
order by c.name
