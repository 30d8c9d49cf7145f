-- Returns the settings for all queues and for the history, or the defaults if the row was deleted.
select s.retention, s.retention_count, s.dead_retention, s.dead_retention_count, coalesce(s.archive, false) as archive,
  s.history_retention, coalesce(s.unknown_types, 'tell') as unknown_types
from (select) n left join pgsched.settings s on true
