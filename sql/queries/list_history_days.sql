-- Lists the partitions of the history that ended before a cutoff; null: the cutoff of the settings.
select d.parent, d.part, d.begins, d.ends, d.bytes, b.ended_before
from (
  select now() - coalesce(%(older_than)s::text::interval, (select s.history_retention from pgsched.settings s))
    as ended_before) b
cross join lateral pgsched.history_days(b.ended_before) d
