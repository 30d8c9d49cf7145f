-- Finds foreign sessions and prepared transactions that have held something our statements need for some seconds: row
-- locks (`select … for update`), table locks, and this schema's advisory locks. Rows that a session has changed are
-- found after a longer time, since an insert is in nobody's way. A prepared transaction has no process.
select coalesce(a.pid::text, x.gid) as name, case when x.gid is null then 'session' else 'prepared' end as kind,
  extract(epoch from now() - coalesce(a.xact_start, x.prepared))::float8 as seconds,
  coalesce(x.owner::text, concat_ws(', ', a.usename, nullif(a.application_name, ''), a.state)) as about,
  string_agg(distinct case when l.locktype = 'advisory' then 'an advisory lock'
    when l.mode in ('RowShareLock', 'RowExclusiveLock') then 'rows of ' || root.relname
    else root.relname || ' (' || l.mode || ')' end, ', ') as holds
from pg_locks l
left join pg_stat_activity a on a.pid = l.pid and a.xact_start < now() - %(held)s::float8 * interval '1 second'
  and a.pid <> pg_backend_pid() and a.backend_type = 'client backend' and a.application_name not like 'pgsched %%'
left join pg_locks own on l.pid is null and own.pid is null and own.virtualtransaction = l.virtualtransaction
  and own.locktype = 'transactionid'
left join pg_prepared_xacts x on x.transaction = own.transactionid
  and x.prepared < now() - %(held)s::float8 * interval '1 second'
left join pg_class t on t.oid = l.relation and t.relnamespace = 'pgsched'::regnamespace and t.relkind in ('r', 'p')
left join pg_class root on root.oid = coalesce(pg_partition_root(t.oid), t.oid)
where l.granted and l.database = (select d.oid from pg_database d where d.datname = current_database())
  and (a.pid is not null or x.gid is not null)
  and (t.oid is not null and l.mode in (
      'RowShareLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
    or t.oid is not null and l.mode = 'RowExclusiveLock' and (x.gid is not null
      or a.state like 'idle in transaction%%' and a.xact_start < now() - %(idle)s::float8 * interval '1 second')
    or l.locktype = 'advisory' and l.classid::bigint << 32 | l.objid::bigint in (
      hashtext('pgsched.make_partitions'), hashtextextended('pgsched.prune', 0),
      hashtextextended('pgsched.indexes', 0)))
group by a.pid, a.xact_start, a.usename, a.application_name, a.state, x.gid, x.owner, x.prepared
order by 3 desc
limit 20
