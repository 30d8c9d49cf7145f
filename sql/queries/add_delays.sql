-- The instants so far from now, by the database's clock and calendar, in text that any session reads alike.
select d.delay,
  to_char((now() + d.delay::interval) at time zone 'UTC', 'FMYYYY-MM-DD"T"HH24:MI:SS.US"Z"') as instant
from unnest(%(delays)s::text[]) as d(delay)
