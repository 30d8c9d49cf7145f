-- Returns the bytes on disk and the bytes of WAL written so far, by all users of the table and of the server.
select
  pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint as wal,
  pg_relation_size('pgsched.tasks') as tasks,
  pg_total_relation_size('pgsched.tasks') - pg_relation_size('pgsched.tasks') as indexes,
  (select coalesce(sum(pg_total_relation_size(p.relid)), 0)::bigint from pg_partition_tree('pgsched.executions') p)
    as history
