"""Settings of the workers' role, changed while they run."""

from __future__ import annotations

from chaos.poison.kind import COMPLETED, Act, Kind

SETTINGS = {
    "statement_timeout": "'60ms'",
    "lock_timeout": "'5ms'",
    "idle_in_transaction_session_timeout": "'5ms'",
    "idle_session_timeout": "'200ms'",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "DateStyle": "'German, DMY'",
    "IntervalStyle": "sql_standard",
    "TimeZone": "'Asia/Kathmandu'",
    "standard_conforming_strings": "off",
    "array_nulls": "off",
    "bytea_output": "escape",
    "client_encoding": "LATIN1",
    "extra_float_digits": "'-15'",
    "search_path": "''",
    "quote_all_identifiers": "on",
    "row_security": "off",
    "jit_above_cost": "0",
    "enable_indexscan": "off",
    "plan_cache_mode": "force_custom_plan",
    "lc_messages": "'C'",
}

KINDS = tuple(
    Kind(
        name=f"setting-{name.lower().replace('_', '-')}",
        does=f"`alter role … set {name} = {value}`, and all sessions are ended",
        fates=(COMPLETED,),
        doctor=("role_settings", name),
        act=Act(statement=f"alter role {{role}} set {name} = {value}", ends_sessions=True),
        undo=(f"alter role {{role}} reset {name}",),
    )
    for name, value in SETTINGS.items()
)
