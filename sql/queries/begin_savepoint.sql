-- What comes after it may be refused without losing what the transaction has locked.
savepoint ends
