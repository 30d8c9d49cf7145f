-- Requests a bulk change of tasks, which starts after some seconds.
insert into pgsched.bulk_changes (action, filter, described, actor, role, remote, expected, starts_at)
values (%(action)s, %(filter)s::jsonb, %(described)s, %(actor)s, %(role)s, %(remote)s, %(expected)s::bigint,
  clock_timestamp() + make_interval(secs => %(delay)s))
returning id
