-- Publishes a finished template under its final name.
alter database {name} rename to {new}
