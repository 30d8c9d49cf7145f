-- Returns in how many seconds the next bulk change is due, or may be taken over; null if none is open.
select extract(epoch from min(greatest(b.starts_at, b.leased_until)) - clock_timestamp())::double precision as seconds
from pgsched.bulk_changes b
where b.status in ('waiting', 'running')
