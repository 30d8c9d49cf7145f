-- Reads bulk changes, the latest first, or the one with the given id.
select b.id, b.action, b.described, b.status, b.actor, b.role, b.created_at, b.starts_at, b.ended_at, b.expected,
  b.before_id, b.looked_at, b.changed, b.unsuited, b.error,
  greatest(0, ceil(extract(epoch from b.starts_at - clock_timestamp())))::integer as starts_in
from pgsched.bulk_changes b
where (%(id)s::bigint is null or b.id = %(id)s::bigint)
  and (%(before_id)s::bigint is null or b.id < %(before_id)s::bigint)
order by b.id desc
limit %(limit)s
