-- Later statements may be rejected without losing the locks of the transaction.
savepoint ends
