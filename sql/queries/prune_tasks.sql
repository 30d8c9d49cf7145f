-- Deletes one batch: the next finished rows of a queue between two cursors, except those that are still needed, and
-- those that a user's object such as a foreign key keeps. `looked` is null while another session prunes.
select p.looked, p.last_at, p.last_id, g.completed, g.cancelled, g.dead, g.kept, g.refusal
from pgsched.pick_prunable(
  %(queue)s, %(dead)s, coalesce(%(from_at)s::timestamptz, '-infinity'), coalesce(%(from_id)s::bigint, 0),
  %(to_at)s, %(to_id)s, %(most)s) p
cross join lateral pgsched.prune_finished(p.ids, %(archive)s) g
