-- Returns whether an index exists, and whether its creation was completed.
select i.indisvalid
from pg_index i
where i.indexrelid = to_regclass('pgsched.' || %(name)s::text)
