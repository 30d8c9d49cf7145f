-- Runs past ticks of a schedule, each once. A dry run only returns which ones would run.
select tick, task_id, outcome
from pgsched.backfill(
  %(id)s, since => %(since)s, until => %(until)s, max_ticks => %(max_ticks)s, dry_run => %(dry_run)s)
