-- Starts a handler's transaction at a fixed isolation level, whatever the database's defaults are: at a stricter one
-- the finish would fail as soon as a heartbeat had renewed the lease.
begin isolation level read committed, read write
