-- When the transaction of a handler began, and as whom: at its end it must be the same one, and is made the same role.
select transaction_timestamp(), current_setting('role')
