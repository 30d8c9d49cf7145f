-- Pauses a queue: nothing more is claimed from it, and running tasks go on.
insert into pgsched.queues as q (name, paused) values (%(name)s, true)
on conflict (name) do update set paused = true, updated_at = now() where not q.paused
returning q.name
