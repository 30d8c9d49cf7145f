-- Whether all transactions below this number are over.
select pg_snapshot_xmin(pg_current_snapshot()) >= %(xmax)s::text::xid8 as passed
