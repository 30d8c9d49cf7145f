-- Selects a batch to delete, for a caller that first copies the rows to a file, or only counts them.
select p.looked, p.last_at, p.last_id, p.ids
from pgsched.pick_prunable(
  %(queue)s, %(dead)s, coalesce(%(from_at)s::timestamptz, '-infinity'), coalesce(%(from_id)s::bigint, 0),
  %(to_at)s, %(to_id)s, %(most)s) p
