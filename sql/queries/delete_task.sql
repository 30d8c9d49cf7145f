-- Deletes a task unless a worker holds it, or its version differs from the given one, if any. A row that is being
-- claimed or edited at this moment is checked again once it is unlocked. Returns no row for an unknown task.
with gone as (
  delete from pgsched.tasks t
  where t.id = %(id)s and t.status <> 'running'
    and (%(version)s::text is null or pgsched.version_of(to_jsonb(t)) = %(version)s::text)
  returning t.id
)
select exists (select from gone) as deleted, t.status = 'running' as running,
  case when %(version)s::text is not null then pgsched.version_of(to_jsonb(t)) end as version
from pgsched.tasks t
where t.id = %(id)s
