-- Publishes a template that is ready under its final name.
alter database {name} rename to {new}
