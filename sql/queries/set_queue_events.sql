-- Sets whether the events of a queue's tasks are announced.
insert into pgsched.queues as q (name, events) values (%(name)s, %(events)s)
on conflict (name) do update set events = excluded.events, updated_at = now()
returning q.name
