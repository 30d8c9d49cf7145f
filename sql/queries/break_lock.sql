-- A lock is taken away from whoever has it, who learns of it at the next renewal.
with broken as (delete from pgsched.locks l where l.name = %(name)s returning l.name)
select count(*) > 0 as changed from broken
