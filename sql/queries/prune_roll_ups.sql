-- Deletes counts of the history that have exceeded their retention.
select pgsched.prune_roll_ups() as number
