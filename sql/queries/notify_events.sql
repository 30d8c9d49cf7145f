-- Announces finishes in queues with events. It precedes the finishes, in their transaction, and locks the same rows, so
-- that it announces what they write, and nothing that the fence rejects.
with told as (
  select pgsched.notify('pgsched_events', e.body)
  from unnest(%(ids)s::bigint[], %(tokens)s::bigint[], %(bodies)s::text[]) as e(id, token, body)
  join lateral (
    select from pgsched.tasks t
    where t.id = any(array[e.id]) and t.fencing_token = e.token and t.locked_by = %(worker)s
      and t.status = 'running'
    for no key update
  ) t on true
)
select count(*) from told
