-- The transaction of a handler, whatever the defaults of the database are: in a stricter one the finish could not be
-- written after a heartbeat has renewed the lease.
begin isolation level read committed, read write
