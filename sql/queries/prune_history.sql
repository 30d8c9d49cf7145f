-- Deletes history that is not in a daily partition, row by row; null: all beyond the retention in the settings.
select pgsched.prune_history(
  now() - coalesce(%(older_than)s::text::interval, (select s.history_retention from pgsched.settings s)), %(most)s)
