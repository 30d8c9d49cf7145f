-- Written in the transaction of the migration itself.
insert into pgsched.migrations (version, name, works_with) values (%(version)s, %(name)s, %(works_with)s)
