-- The instants so far from now, by the database's clock and calendar, in text that any session reads alike.
select d.delay, pgsched.instant_after(d.delay::interval) as instant
from pg_catalog.unnest(%(delays)s::pg_catalog.text[]) as d(delay)
