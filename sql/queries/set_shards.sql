-- Writes which shards there are and which of them this database is; a shard that is known keeps whether it is hashed.
-- From now on, inserts look for placements (pgsched.shard_changes).
insert into pgsched.shards as s (name, is_here, is_hashed)
select n.name, n.name = %(here)s, n.name = any(%(hashed)s)
from (select nextval('pgsched.shard_changes')) drawn
cross join unnest(%(names)s::text[]) n(name)
on conflict (name) do update set is_here = excluded.is_here, is_hashed = excluded.is_hashed,
  changed_at = clock_timestamp()
where (s.is_here, s.is_hashed) is distinct from (excluded.is_here, excluded.is_hashed)
returning name
