-- Changes the given settings of a queue and leaves the others as they are.
insert into pgsched.queues as q (name, ordering, ageing)
values (%(queue)s, coalesce(%(ordering)s::text, 'fifo'), %(ageing)s::interval)
on conflict (name) do update
set ordering = coalesce(%(ordering)s::text, q.ordering),
  ageing = case when %(sets_ageing)s then excluded.ageing else q.ageing end,
  updated_at = now()
returning q.name
