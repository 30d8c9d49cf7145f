-- Runs ticks of a schedule that passed, each once; in a dry run only tells which.
select tick, task_id, outcome
from pgsched.backfill(
  %(id)s, since => %(since)s, until => %(until)s, max_ticks => %(max_ticks)s, dry_run => %(dry_run)s)
