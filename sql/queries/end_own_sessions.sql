-- Terminates the other sessions of pgsched in this database. They reconnect with the database's current settings.
select count(pg_terminate_backend(pid))
from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and application_name like 'pgsched %%'
  and application_name <> 'pgsched clock'
