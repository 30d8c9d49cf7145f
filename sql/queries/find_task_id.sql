-- Returns the id of the task that has an idempotency key, or had it when it left.
select pgsched.task_id(%(key)s::pg_catalog.text) as id
