-- Pauses a queue: nothing more is claimed from it, and running tasks continue. A trigger records the time, and the role
-- if no name is given.
insert into pgsched.queues as q (name, paused, paused_by) values (%(name)s, true, %(paused_by)s)
on conflict (name) do update set paused = true, paused_by = excluded.paused_by, updated_at = now()
where not q.paused
returning q.name
