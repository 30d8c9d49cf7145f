-- Moves a bulk change from one status to another: undoes, stops or resumes it, or records why it failed. Returns
-- whether it was in that status.
with ended as (
  update pgsched.bulk_changes b
  set status = %(status)s, error = %(error)s::text, leased_until = null,
    ended_at = case when %(status)s <> 'running' then clock_timestamp() end
  where b.id = %(id)s and b.status = any(%(from)s::text[])
    and (%(runner)s::uuid is null or b.runner = %(runner)s::uuid)
  returning b.id)
select count(*) > 0 as changed from ended
