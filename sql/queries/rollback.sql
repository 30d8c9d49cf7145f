-- Ends a transaction that has locked nothing, or a row that cannot be read.
rollback
