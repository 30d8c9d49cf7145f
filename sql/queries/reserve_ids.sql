-- Ids for rows that are about to be copied, so that the caller can be told which task got which.
select nextval(pg_get_serial_sequence('pgsched.tasks', 'id')) as id from generate_series(1, %(number)s::integer)
