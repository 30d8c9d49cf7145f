-- Commits a few bytes: with synchronous_commit off, it lacks only the wait for the disk, and for standbys.
select
  set_config('synchronous_commit', %(synchronous)s, true) as mode,
  pg_logical_emit_message(true, 'pgsched bench', '') as lsn
