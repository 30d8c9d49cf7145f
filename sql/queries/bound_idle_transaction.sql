-- Lets the server end a transaction of this session after this much silence, which releases its locks. Behind a pooler
-- it applies to one transaction.
select set_config('idle_in_transaction_session_timeout', %(milliseconds)s, %(pooled)s)
