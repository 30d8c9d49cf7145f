-- Finds foreign sessions that have held something our statements need for some seconds: row locks (`select … for
-- update`), table locks, and this schema's advisory locks.
select a.pid::text as name, extract(epoch from now() - a.xact_start)::float8 as seconds,
  concat_ws(', ', a.usename, nullif(a.application_name, ''), a.state) as about,
  string_agg(distinct case when l.locktype = 'advisory' then 'an advisory lock'
    when l.mode = 'RowShareLock' then 'rows of ' || root.relname
    else root.relname || ' (' || l.mode || ')' end, ', ') as holds
from pg_locks l
join pg_stat_activity a on a.pid = l.pid
left join pg_class t on t.oid = l.relation and t.relnamespace = 'pgsched'::regnamespace and t.relkind in ('r', 'p')
left join pg_class root on root.oid = coalesce(pg_partition_root(t.oid), t.oid)
where l.granted and l.database = (select d.oid from pg_database d where d.datname = current_database())
  and a.xact_start < now() - %(held)s::float8 * interval '1 second' and a.pid <> pg_backend_pid()
  and a.backend_type = 'client backend' and a.application_name not like 'pgsched %%'
  and (t.oid is not null and l.mode in (
      'RowShareLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
    or l.locktype = 'advisory' and l.classid::bigint << 32 | l.objid::bigint in (
      hashtext('pgsched.make_partitions'), hashtextextended('pgsched.prune', 0),
      hashtextextended('pgsched.indexes', 0)))
group by a.pid, a.xact_start, a.usename, a.application_name, a.state
order by 2 desc
limit 20
