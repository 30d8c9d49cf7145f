-- Returns when a handler's transaction started and as which role: at the end it must be the same transaction, and gets
-- the same role. Also turns off the timeout for idle transactions, which would end the transaction under any handler.
-- Every name is qualified, because the session has the settings of its role and database.
select pg_catalog.transaction_timestamp(), pg_catalog.current_setting('role'),
  case when pg_catalog.current_setting('idle_in_transaction_session_timeout')::pg_catalog.interval
      operator(pg_catalog.<) pg_catalog.interval '1 minute'
      and pg_catalog.current_setting('idle_in_transaction_session_timeout') operator(pg_catalog.<>) '0'
    then pg_catalog.set_config('idle_in_transaction_session_timeout', '1min', true) end
