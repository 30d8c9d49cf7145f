-- The versions that were applied to this database.
select version, name from pgsched.migrations order by version
