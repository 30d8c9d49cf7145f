-- Sets what a queue says of all of its tasks, by column.
select pgsched.set_defaults('queue', %(queue)s, %(defaults)s::text::jsonb) as changed
