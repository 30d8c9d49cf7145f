-- Starts the transaction of a batch of locked rows, whatever the database's defaults are.
begin isolation level read committed, read write
