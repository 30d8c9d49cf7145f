-- Returns whether the settings of any queue, or of the given one, ever delete anything.
select exists (
    select from pgsched.settings s
    where num_nonnulls(s.retention, s.retention_count, s.dead_retention, s.dead_retention_count,
      s.history_retention) > 0)
  or exists (
    select from pgsched.queues q
    where num_nonnulls(q.retention, q.retention_count, q.dead_retention, q.dead_retention_count) > 0)
