-- The days to come.
select pgsched.make_partitions()
