-- Examines the history: which tables lack a partition for one of the next days, how much lies in the default partitions
-- (every role may see their size), and how far back it reaches.
select p.parent,
  array(select to_char(d.day, 'YYYY-MM-DD')
        from (select (now() at time zone 'UTC')::date + n as day from generate_series(0, 2) as n) d
        where to_regclass('pgsched.' || p.parent || '_' || to_char(d.day, 'YYYYMMDD')) is null
        order by d.day) as missing,
  (now() at time zone 'UTC')::date::text as today,
  (select case when c.reltuples = 0 then 0 else pg_relation_size(c.oid) end
   from pg_class c where c.oid = to_regclass('pgsched.' || p.parent || '_default')) as default_bytes,
  (select (now() at time zone 'UTC')::date - min(to_date(right(c.relname, 8), 'YYYYMMDD'))
   from pg_inherits i join pg_class c on c.oid = i.inhrelid
   where i.inhparent = to_regclass('pgsched.' || p.parent) and c.relname ~ '_\d{8}$') as oldest_days
from unnest(array['executions', 'execution_logs', 'missed_ticks']) as p(parent)
order by p.parent
