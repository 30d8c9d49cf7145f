-- The history that is in no partition of a day goes row by row; null: what is older than the settings say.
select pgsched.prune_history(
  now() - coalesce(%(older_than)s::text::interval, (select s.history_retention from pgsched.settings s)), %(most)s)
