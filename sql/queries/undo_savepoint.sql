-- Undoes a rejected statement: nothing of it is written, and the transaction keeps its locks.
rollback to savepoint ends
