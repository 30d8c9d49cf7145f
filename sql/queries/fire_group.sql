-- The first phase of a claimed group: creates its children and lets it wait for them. Returns null when the claim was
-- lost.
select (
  select pgsched.fire_group(t.id, t.fencing_token)
  from pgsched.tasks t
  where t.id = %(id)s and t.fencing_token = %(token)s and t.locked_by = %(worker)s)
