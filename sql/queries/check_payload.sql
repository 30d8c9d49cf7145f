-- Rejects a payload that does not fit a schema, as an INSERT for a strict handler does.
select pgsched.check_payload(%(task_type)s::text, %(schema)s::text::jsonb, %(payload)s::text::jsonb)
