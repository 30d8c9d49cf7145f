-- Starts of queues with a rate that came later than their claims: so the window is that of the starts.
select pgsched.note_late_start(s.queue, s.noted, s.late)
from unnest(%(queues)s::text[], %(noted)s::timestamptz[], %(late)s::float8[]) as s(queue, noted, late)
