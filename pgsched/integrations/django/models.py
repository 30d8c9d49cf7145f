"""There are none: the schema is pgsched's own. Django tells only apps with this module that it has migrated."""
