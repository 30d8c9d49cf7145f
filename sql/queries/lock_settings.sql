-- Prevents others from changing the settings until the end of the transaction.
select s.only_row from pgsched.settings s for no key update
