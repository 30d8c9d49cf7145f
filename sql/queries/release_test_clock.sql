-- Returns a test clock to the real time.
update pgsched_clock.setting set frozen = null, shift = '0'
