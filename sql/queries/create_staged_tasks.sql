-- Creates the staging table for rows with idempotency keys, since COPY cannot skip rows whose key exists. Its columns
-- have the same domains, so an invalid value is rejected here, with its line number.
create temporary table pgsched_staged_tasks on commit drop as select {columns} from pgsched.tasks with no data
