-- The time of the database, which is the one that counts.
select clock_timestamp() as now
