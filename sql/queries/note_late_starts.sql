-- Moves the recorded starts of rate-limited queues to their actual time, if that was later than the claim, so that the
-- rate's window counts starts.
select pgsched.note_late_start(s.queue, s.noted, s.late)
from unnest(%(queues)s::text[], %(noted)s::timestamptz[], %(late)s::float8[]) as s(queue, noted, late)
