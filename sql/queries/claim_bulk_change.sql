-- Takes a bulk change that is due or whose dashboard is gone; returns no row if there is none. From here on it can be
-- stopped, but not undone.
update pgsched.bulk_changes b
set status = 'running', runner = %(runner)s::uuid, leased_until = clock_timestamp() + make_interval(secs => %(lease)s)
where b.id = (
  select c.id from pgsched.bulk_changes c
  where c.status in ('waiting', 'running') and c.starts_at <= clock_timestamp()
    and (c.leased_until is null or c.leased_until < clock_timestamp() or c.runner = %(runner)s::uuid)
  order by c.id
  limit 1
  for no key update skip locked)
returning b.id
