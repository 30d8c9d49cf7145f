-- Changes the given settings of a queue and keeps the others.
insert into pgsched.queues as q (
  name, ordering, ageing, retention, retention_count, dead_retention, dead_retention_count, archive,
  allow_short)
values (
  %(queue)s, coalesce(%(ordering)s::text, 'fifo'), %(ageing)s::text::interval, %(retention)s::text::interval,
  %(retention_count)s::integer, %(dead_retention)s::text::interval, %(dead_retention_count)s::integer,
  %(archive)s::boolean, %(allow_short)s::boolean)
on conflict (name) do update
set ordering = coalesce(%(ordering)s::text, q.ordering),
  ageing = case when 'ageing' = any(%(given)s::text[]) then excluded.ageing else q.ageing end,
  retention = case when 'retention' = any(%(given)s::text[]) then excluded.retention else q.retention end,
  retention_count = case when 'retention_count' = any(%(given)s::text[]) then excluded.retention_count
    else q.retention_count end,
  dead_retention = case when 'dead_retention' = any(%(given)s::text[]) then excluded.dead_retention
    else q.dead_retention end,
  dead_retention_count = case when 'dead_retention_count' = any(%(given)s::text[]) then excluded.dead_retention_count
    else q.dead_retention_count end,
  archive = case when 'archive' = any(%(given)s::text[]) then excluded.archive else q.archive end,
  -- An unchanged retention age keeps its `until`; a replaced one loses it.
  allow_short = excluded.allow_short or q.allow_short and (
    coalesce(q.retention < interval '1 hour' and not 'retention' = any(%(given)s::text[]), false)
    or coalesce(q.dead_retention < interval '1 hour' and not 'dead_retention' = any(%(given)s::text[]), false)),
  updated_at = now()
returning q.name, case when 'defaults' = any(%(given)s::text[])
  then pgsched.set_defaults('queue', q.name, %(defaults)s::text::jsonb) end
