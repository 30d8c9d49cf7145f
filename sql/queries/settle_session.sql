-- Sets what our statements rely on, whatever the role, the database or the DSN sets: how text, times and intervals are
-- read and written; that no timeout of others ends a statement or an idle session; that a statement reads committed
-- data and may write. Every name is qualified, because the search_path may lead elsewhere.
--
-- Returns the server process that answers: if it is not %(pid)s, the process that accepted the connection, there is a
-- pooler in between. Behind a pooler the settings hold until the end of the transaction, so that they do not leak to
-- the next user of the session. Also returns whether the session is read-only only because of a setting of the role or
-- the database; a server that accepts no writes at all, such as a former primary, is left as it is.
select s.backend, s.reads_only, (
  select pg_catalog.count(pg_catalog.set_config(v.name, v.value, s.here))
  from (values
    ('client_encoding', 'UTF8'), ('standard_conforming_strings', 'on'), ('array_nulls', 'on'),
    ('datestyle', 'ISO, MDY'), ('intervalstyle', 'postgres'), ('timezone', 'UTC'), ('extra_float_digits', '1'),
    ('transform_null_equals', 'off'), ('quote_all_identifiers', 'off'), ('row_security', 'on'), ('jit', 'off'),
    ('plan_cache_mode', 'auto'), ('statement_timeout', '0'), ('lock_timeout', '0'), ('idle_session_timeout', '0'),
    ('default_transaction_isolation', 'read committed'), ('default_transaction_deferrable', 'off'),
    ('default_transaction_read_only', case when s.reads_only then 'off' end),
    ('transaction_timeout', case when pg_catalog.current_setting('transaction_timeout', true) is not null then '0' end),
    -- An administrator's guard against hanging programs: our statements never take that long.
    ('idle_in_transaction_session_timeout', case
      when pg_catalog.current_setting('idle_in_transaction_session_timeout')::interval
        operator(pg_catalog.<) interval '1 minute'
        and pg_catalog.current_setting('idle_in_transaction_session_timeout') operator(pg_catalog.<>) '0'
      then '1min' end),
    -- Without its triggers the table would be inconsistent. A role that may not set this gets the server's error.
    ('session_replication_role', case
      when pg_catalog.current_setting('session_replication_role') operator(pg_catalog.<>) 'origin' then 'origin' end),
    -- PostgreSQL's own names are found first. Other schemas stay: users' triggers may need them.
    ('search_path', case
      when pg_catalog.strpos(pg_catalog.current_setting('search_path'), 'pg_catalog') operator(pg_catalog.>) 0
        and pg_catalog.strpos(pg_catalog.current_setting('search_path'), 'pgsched_clock') operator(pg_catalog.=) 0
      then (
        select coalesce(pg_catalog.string_agg(p.name, ',' order by p.place), '')
        from pg_catalog.unnest(pg_catalog.string_to_array(pg_catalog.current_setting('search_path'), ','))
          with ordinality as p(name, place)
        where pg_catalog.btrim(p.name, ' "') operator(pg_catalog.<>) 'pg_catalog') end)
  ) as v(name, value)
  where v.value is not null)
from (
  select pg_catalog.pg_backend_pid() as backend,
    pg_catalog.pg_backend_pid() operator(pg_catalog.<>) %(pid)s::integer as here,
    pg_catalog.current_setting('default_transaction_read_only') operator(pg_catalog.=) 'on' and (
      select g.source operator(pg_catalog.=) any (array['user', 'database', 'database user'])
      from pg_catalog.pg_settings g where g.name operator(pg_catalog.=) 'default_transaction_read_only') as reads_only
) s
