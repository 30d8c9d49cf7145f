-- Which task has which idempotency key.
select t.id, t.idempotency_key from pgsched.tasks t where t.idempotency_key = any(%(keys)s::text[])
