-- Deletes a saved view.
with deleted as (delete from pgsched.saved_views v where v.name = %(name)s::text returning v.name)
select count(*) > 0 as changed from deleted
