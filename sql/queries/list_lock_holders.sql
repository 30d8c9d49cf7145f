-- Lists sessions that have held locks on our tables for a while, the longest first. A prepared transaction has no
-- process; only members of pg_read_all_stats see since when sessions of other roles have held them.
select l.pid, a.application_name, a.state, extract(epoch from clock_timestamp() - a.xact_start)::float8 as seconds,
  array_agg(distinct c.relname::text) as tables
from pg_locks l
join pg_class c on c.oid = l.relation
left join pg_stat_activity a on a.pid = l.pid
where l.granted and l.locktype = 'relation'
  and l.database = (select d.oid from pg_database d where d.datname = current_database())
  and c.relnamespace = 'pgsched'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
  and l.pid is distinct from pg_backend_pid()
  and (a.xact_start is null or a.xact_start < clock_timestamp() - interval '1 second')
group by l.pid, a.application_name, a.state, a.xact_start
order by a.xact_start nulls last, l.pid
limit 3
