-- The partitions of the history that were over so long ago; null: as long as the settings say.
select d.parent, d.part, d.begins, d.ends, d.bytes, b.ended_before
from (
  select now() - coalesce(%(older_than)s::text::interval, (select s.history_retention from pgsched.settings s))
    as ended_before) b
cross join lateral pgsched.history_days(b.ended_before) d
