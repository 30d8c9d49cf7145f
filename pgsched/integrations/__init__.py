"""pgsched inside other frameworks. For transactions of other libraries see :mod:`pgsched.db.external`."""
