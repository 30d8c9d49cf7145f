-- Records a batch of a bulk change in the transaction that made it; without a position to continue from, the change is
-- done.
update pgsched.bulk_changes b
set looked_at = b.looked_at + %(looked_at)s, changed = b.changed + %(changed)s,
  unsuited = (b.unsuited || %(unsuited)s::bigint[])[1:100],
  before_id = coalesce(%(before_id)s::bigint, b.before_id),
  status = case when %(before_id)s::bigint is null then 'done' else b.status end,
  ended_at = case when %(before_id)s::bigint is null then clock_timestamp() end,
  leased_until = clock_timestamp() + make_interval(secs => %(lease)s),
  error = null
where b.id = %(id)s
returning b.id
