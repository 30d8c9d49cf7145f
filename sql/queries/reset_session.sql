-- Resets a connection between two handlers: settings, advisory locks, temporary tables, prepared statements, LISTEN.
discard all
