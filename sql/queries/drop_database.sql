-- The database of a test is over, whoever is still connected to it.
drop database if exists {name} with (force)
