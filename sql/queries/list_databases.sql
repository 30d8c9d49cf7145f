-- The databases of one run of tests.
select datname from pg_database where starts_with(datname, %(prefix)s) order by datname
