-- Drops a test database, whatever sessions are still connected to it.
drop database if exists {name} with (force)
