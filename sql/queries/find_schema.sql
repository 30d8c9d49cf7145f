-- Whether there is a schema to look into, and may we; a missing table must not raise, it means version 0.
select to_regclass('pgsched.migrations') is not null
