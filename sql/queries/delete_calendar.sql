-- Deletes a calendar; a trigger rejects that while a cron expression names it.
with deleted as (delete from pgsched.calendars c where c.name = %(name)s::text returning c.name)
select count(*) > 0 as changed from deleted
