-- Deletes a batch that pick_prunable has selected.
select g.kept from pgsched.prune_finished(%(ids)s::bigint[], %(archive)s) g
