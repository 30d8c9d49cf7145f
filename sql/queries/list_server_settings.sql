-- Lists the server settings that determine how fast tasks are written, as `show` prints them.
select s.name, current_setting(s.name) as value
from pg_settings s
where s.name = any(%(names)s::text[])
order by array_position(%(names)s::text[], s.name)
