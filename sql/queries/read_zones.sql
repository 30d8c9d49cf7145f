-- Returns the database's rules of some time zones for the coming years; no row for a zone that it does not know.
select r.zone, r.since, r.until, r.changes, r.offsets
from unnest(%(zones)s::text[]) as z(name), pgsched.read_zone(z.name) r
where r.zone is not null
