-- Records a migration, in its own transaction.
insert into pgsched.migrations (version, name, works_with) values (%(version)s, %(name)s, %(works_with)s)
