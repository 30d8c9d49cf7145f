-- Forgets which database the tasks belong to: copies of this template are databases in their own right.
delete from pgsched.database_identity
