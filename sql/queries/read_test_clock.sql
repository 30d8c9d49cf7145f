-- Returns the time of a test clock, and whether it is frozen.
select pgsched_clock.now(), frozen is not null from pgsched_clock.setting
