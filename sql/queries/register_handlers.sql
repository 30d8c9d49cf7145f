-- Writes the handlers of a program to the register, through pgsched.register; returns the types that were written.
select pgsched.register(%(handlers)s::jsonb) as written
