-- One batch: the next finished rows of a queue behind one place and up to another, deleted but for those that are needed, or that something
-- of the users' keeps, as a foreign key.
-- `looked` is null while somebody else prunes.
select p.looked, p.last_at, p.last_id, g.completed, g.cancelled, g.dead, g.kept, g.refusal
from pgsched.pick_prunable(
  %(queue)s, %(dead)s, coalesce(%(from_at)s::timestamptz, '-infinity'), coalesce(%(from_id)s::bigint, 0),
  %(to_at)s, %(to_id)s, %(most)s) p
cross join lateral pgsched.prune_finished(p.ids, %(archive)s) g
