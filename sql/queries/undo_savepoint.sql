rollback to savepoint ends
