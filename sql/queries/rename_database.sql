-- A template is ready: from now on it is found under its name.
alter database {name} rename to {new}
