-- Saves a view or replaces its query. An existing row keeps the xmax of the lock that the conflict took, which
-- distinguishes it from a new one.
insert into pgsched.saved_views as v (name, query, saved_by)
values (%(name)s::text, %(query)s::text, coalesce(%(saved_by)s::text, session_user))
on conflict (name) do update set query = excluded.query, saved_by = excluded.saved_by, saved_at = clock_timestamp()
returning case when v.xmax = 0 then 'created' else 'replaced' end as outcome
