-- Returns whether there is a schema that the current role may read. A missing table raises no error, since it means
-- version 0.
select to_regclass('pgsched.migrations') is not null
