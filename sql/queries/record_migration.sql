-- Written in the transaction of the migration itself.
insert into pgsched.migrations (version, name) values (%(version)s, %(name)s)
