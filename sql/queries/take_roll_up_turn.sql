-- Takes the turn to count the history, or continues with it. A plain read comes first: most callers do not get the
-- turn, and the row is locked while another worker counts.
select case when s.next_at <= now() or s.worker_id = %(worker)s::uuid
  then pgsched.take_roll_up_turn(%(worker)s::uuid, %(every)s::float8) else false end as taken
from pgsched.roll_up_state s
