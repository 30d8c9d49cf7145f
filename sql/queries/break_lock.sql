-- Takes a lock away from its owner, who finds out at the next renewal.
with broken as (delete from pgsched.locks l where l.name = %(name)s returning l.name)
select count(*) > 0 as changed from broken
