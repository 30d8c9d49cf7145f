-- Freezes a test clock at an instant, or lets it run from there at the usual pace; without an instant, at its present
-- time. Adds %(by)s, in UTC.
update pgsched_clock.setting
set frozen = case when %(runs)s then null else target.at end,
  shift = case when %(runs)s then make_interval(secs => extract(epoch from target.at - pg_catalog.now())::float8)
    else setting.shift end
from (
  select (coalesce(%(at)s::timestamptz, pgsched_clock.now()) at time zone 'UTC' + %(by)s::interval)
    at time zone 'UTC' as at
) target
