-- Lets a test clock show the real time again.
update pgsched_clock.setting set frozen = null, shift = '0'
