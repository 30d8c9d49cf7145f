"""Commands to the database, by subject. Pure: each function returns a command, which others run."""
