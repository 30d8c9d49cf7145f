-- Lists the statistics of the schema's tables, without the daily partitions of the history.
select c.relname::text as name,
  coalesce((select o.option_value from pg_options_to_table(c.reloptions) o where o.option_name = 'autovacuum_enabled'),
    'true')::boolean
    as autovacuum,
  coalesce((select o.option_value from pg_options_to_table(c.reloptions) o where o.option_name = 'fillfactor'),
    '100')::int
    as fillfactor,
  greatest(c.reltuples, 0)::bigint as about_rows,
  coalesce(s.n_live_tup, 0) as live, coalesce(s.n_dead_tup, 0) as dead,
  extract(epoch from now() - greatest(s.last_vacuum, s.last_autovacuum))::float8 as vacuumed_ago,
  age(c.relfrozenxid) as xid_age
from pg_class c
left join pg_stat_all_tables s on s.relid = c.oid
where c.relnamespace = 'pgsched'::regnamespace and c.relkind = 'r'
  and (not c.relispartition or c.relname like '%%\_default')
order by c.relname
