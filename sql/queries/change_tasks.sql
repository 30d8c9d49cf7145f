-- Applies one action to each of many tasks whose status allows it at that moment. A dry run only returns which tasks
-- those are.
select id
from pgsched.change_tasks(%(action)s::text, %(ids)s::bigint[], %(dry_run)s::boolean, %(run_by)s::text) as id
