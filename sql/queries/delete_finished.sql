-- The second half of a batch.
select g.kept from pgsched.prune_finished(%(ids)s::bigint[], %(archive)s) g
