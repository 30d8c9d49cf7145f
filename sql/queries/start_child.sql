-- Creates the child that a durable run waits for, and records it; null when the claim was lost.
select pgsched.start_child(%(worker)s, %(id)s, %(token)s, %(step)s::text::jsonb, %(task)s::text::jsonb) as id
