-- Creates the partitions of the coming days.
select pgsched.make_partitions()
