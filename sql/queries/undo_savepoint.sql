-- Something was refused: nothing of it is written, and what the transaction has locked stays locked.
rollback to savepoint ends
