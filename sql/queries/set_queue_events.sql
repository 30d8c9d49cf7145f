-- Whether other programs are told what happens to the tasks of this queue.
insert into pgsched.queues as q (name, events) values (%(name)s, %(events)s)
on conflict (name) do update set events = excluded.events, updated_at = now()
returning q.name
