-- The shards of the system that this database belongs to.
select s.name, s.is_here, s.is_hashed from pgsched.shards s order by s.name
