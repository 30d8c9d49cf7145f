-- Returns the name and the size in bytes of a table that does not have an index yet; for a partitioned table, those of
-- each part. Returns no rows when the table does not exist.
select c.relname, pg_relation_size(c.oid)
from pg_class c
where c.relkind = 'r'
  and (
    c.oid = to_regclass('pgsched.' || %(name)s::text)
    or c.oid in (
      select i.inhrelid from pg_inherits i where i.inhparent = to_regclass('pgsched.' || %(name)s::text)))
  and not exists (
    select from pg_index i where i.indexrelid = to_regclass('pgsched.' || %(index)s::text) and i.indisvalid)
order by c.relname
