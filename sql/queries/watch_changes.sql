-- Returns for each table a number that changes when the table changes; the partitions of a table count as one. It reads
-- only statistics.
select regexp_replace(s.relname, '_(\d{8}|default)$', '') as name,
  sum(s.n_tup_ins + s.n_tup_upd + s.n_tup_del)::bigint as changes
from pg_stat_user_tables s
where s.schemaname = 'pgsched' and s.relname <> 'locks'
group by 1
