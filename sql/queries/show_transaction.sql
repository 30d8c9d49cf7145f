-- When the transaction of a handler began, and as whom: at its end it must be the same one, and is made the same role. One
-- that the server ends when it is idle for a moment would end under every handler.
select transaction_timestamp(), current_setting('role'),
  case when current_setting('idle_in_transaction_session_timeout')::interval < interval '1 minute'
      and current_setting('idle_in_transaction_session_timeout') <> '0'
    then set_config('idle_in_transaction_session_timeout', '1min', true) end
