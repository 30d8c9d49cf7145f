-- Adds delays to the current time, by the database's clock and calendar. Returns text that every session parses alike.
select d.delay, pgsched.instant_after(d.delay::interval) as instant
from pg_catalog.unnest(%(delays)s::pg_catalog.text[]) as d(delay)
