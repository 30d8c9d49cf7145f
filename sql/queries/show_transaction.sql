-- When the transaction of a handler began, and as whom: at its end it must be the same one, and is made the same role. One
-- that the server ends when it is idle for a moment would end under every handler. The session has the settings of its role
-- and database, so all names are qualified.
select pg_catalog.transaction_timestamp(), pg_catalog.current_setting('role'),
  case when pg_catalog.current_setting('idle_in_transaction_session_timeout')::pg_catalog.interval
      operator(pg_catalog.<) pg_catalog.interval '1 minute'
      and pg_catalog.current_setting('idle_in_transaction_session_timeout') operator(pg_catalog.<>) '0'
    then pg_catalog.set_config('idle_in_transaction_session_timeout', '1min', true) end
