-- Lets the server end a transaction of this session of which it hears nothing for so long: what it has locked is free
-- then. Behind a pooler for one transaction.
select set_config('idle_in_transaction_session_timeout', %(milliseconds)s, %(pooled)s)
