-- Lists the time zones of schedules with their UTC offsets at some instants, as this server knows them; without offsets
-- for a zone that it does not know.
with used as (
  select distinct s.timezone as zone
  from (select t.timezone from pgsched.tasks t where t.schedule_type <> 'one_time' order by t.id desc limit %(cap)s) s
),
known as materialized (
  select u.zone, n.name is not null as known from used u left join pg_timezone_names n on n.name = u.zone
)
select k.zone, case when k.known then array(
    select extract(epoch from (to_timestamp(i.at) at time zone k.zone) - (to_timestamp(i.at) at time zone 'UTC'))::int
    from unnest(%(instants)s::float8[]) with ordinality as i(at, place)
    order by i.place) end as offsets
from known k
order by k.zone
limit 1000
