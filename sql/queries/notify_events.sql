-- Tells other programs of finishes in queues that announce their events. It comes before the finishes, in their transaction,
-- and locks the rows that they will find: so what is told is what they write, and nothing that the fence keeps out.
with told as (
  select pg_notify('pgsched_events', e.body)
  from unnest(%(ids)s::bigint[], %(tokens)s::bigint[], %(bodies)s::text[]) as e(id, token, body)
  join lateral (
    select from pgsched.tasks t
    where t.id = any(array[e.id]) and t.fencing_token = e.token and t.locked_by = %(worker)s
      and t.status = 'running'
    for no key update
  ) t on true
)
select count(*) from told
