-- The settings that hold for all queues, and the history's; the defaults if somebody deleted the row.
select s.retention, s.retention_count, s.dead_retention, s.dead_retention_count, coalesce(s.archive, false) as archive,
  s.history_retention
from (select) n left join pgsched.settings s on true
