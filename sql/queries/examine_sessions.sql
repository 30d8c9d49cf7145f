-- Finds what keeps dead rows from being removed: old transactions of this database and of standbys, prepared
-- transactions, and replication slots that are unused or far behind.
select 'session' as kind, a.pid::text as name, extract(epoch from now() - a.xact_start)::float8 as seconds,
  concat_ws(', ', a.usename, nullif(a.application_name, ''), a.state) as about
from pg_stat_activity a
where a.xact_start < now() - %(old)s::float8 * interval '1 second' and a.pid <> pg_backend_pid()
  and (a.datname = current_database() or a.datname is null and a.backend_xmin is not null)
  and a.backend_type is distinct from 'autovacuum worker'
union all
select 'prepared', p.gid, extract(epoch from now() - p.prepared)::float8, p.owner::text
from pg_prepared_xacts p
where p.database = current_database() and p.prepared < now() - %(old)s::float8 * interval '1 second'
union all
select 'slot', r.slot_name::text, null, case when r.active then 'stays behind' else 'is not in use' end
from pg_replication_slots r
where (not r.active or greatest(age(r.xmin), age(r.catalog_xmin)) > %(behind)s::int)
  and (r.database is null or r.database = current_database())
order by 1, 3 desc nulls last, 2
limit 50
