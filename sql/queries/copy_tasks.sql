-- Copies many rows into the columns that the caller used; the others get the table's defaults.
copy pgsched.tasks ({columns}) from stdin
