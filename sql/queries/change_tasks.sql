-- One action on many tasks, each that it may be done to at that moment; or, in a dry run, only which those are.
select id from pgsched.change_tasks(%(action)s::text, %(ids)s::bigint[], %(dry_run)s::boolean) as id
