-- Between two handlers on one connection: settings, advisory locks, temporary tables, prepared statements, LISTEN.
discard all
