-- Shows that a handler's transaction is in use: poolers and the server may end one that is idle.
select 1
