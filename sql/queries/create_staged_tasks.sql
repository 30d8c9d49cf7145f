-- Where rows with idempotency keys wait: COPY cannot skip those that are in the table already. Same columns, same
-- domains, so a value that breaks a rule is refused here, by its line.
create temporary table pgsched_staged_tasks on commit drop as select {columns} from pgsched.tasks with no data
