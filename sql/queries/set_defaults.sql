-- Sets the options that a queue gives all its tasks, by column.
select pgsched.set_defaults('queue', %(queue)s, %(defaults)s::text::jsonb) as changed
