-- The second half of a batch.
select g.completed, g.cancelled, g.dead from pgsched.delete_finished(%(ids)s::bigint[], %(archive)s) g
