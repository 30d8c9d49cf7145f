-- The number that no transaction has had yet.
select pg_snapshot_xmax(pg_current_snapshot())::text as xmax
