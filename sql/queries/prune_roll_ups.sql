-- Deletes counts of the history that are older than they are kept.
select pgsched.prune_roll_ups() as number
