-- What the clock of a test shows, and whether it stands still.
select pgsched_clock.now(), frozen is not null from pgsched_clock.setting
