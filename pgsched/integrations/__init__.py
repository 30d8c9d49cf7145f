"""pgsched inside other frameworks. Joining the transactions of other libraries is in :mod:`pgsched.db.external`."""
