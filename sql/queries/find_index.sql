-- Whether an index is there, and whether it was made to its end.
select i.indisvalid
from pg_index i
where i.indexrelid = to_regclass('pgsched.' || %(name)s::text)
