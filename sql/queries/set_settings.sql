-- Changes the given settings and keeps the others.
insert into pgsched.settings as s (retention, retention_count, dead_retention, dead_retention_count, archive,
  history_retention, allow_short, unknown_types)
values (
  %(retention)s::text::interval, %(retention_count)s::integer, %(dead_retention)s::text::interval,
  %(dead_retention_count)s::integer, coalesce(%(archive)s::boolean, false), %(history_retention)s::text::interval,
  %(allow_short)s::boolean, coalesce(%(unknown_types)s::text, 'tell'))
on conflict (only_row) do update
set retention = case when 'retention' = any(%(given)s::text[]) then excluded.retention else s.retention end,
  retention_count = case when 'retention_count' = any(%(given)s::text[]) then excluded.retention_count
    else s.retention_count end,
  dead_retention = case when 'dead_retention' = any(%(given)s::text[]) then excluded.dead_retention
    else s.dead_retention end,
  dead_retention_count = case when 'dead_retention_count' = any(%(given)s::text[]) then excluded.dead_retention_count
    else s.dead_retention_count end,
  archive = case when 'archive' = any(%(given)s::text[]) then excluded.archive else s.archive end,
  history_retention = case when 'history_retention' = any(%(given)s::text[]) then excluded.history_retention
    else s.history_retention end,
  unknown_types = coalesce(%(unknown_types)s::text, s.unknown_types),
  -- An unchanged retention age keeps its `until`; a replaced one loses it.
  allow_short = excluded.allow_short or s.allow_short and (
    coalesce(s.retention < interval '1 hour' and not 'retention' = any(%(given)s::text[]), false)
    or coalesce(s.dead_retention < interval '1 hour' and not 'dead_retention' = any(%(given)s::text[]), false)),
  updated_at = now()
returning s.only_row
