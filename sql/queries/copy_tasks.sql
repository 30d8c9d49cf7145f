-- Many rows at once, of the columns that the caller used; the others keep the table's defaults.
copy pgsched.tasks ({columns}) from stdin
