"""In which order the book tells of tables and functions, and what each part is about."""

from __future__ import annotations

from typing import Final, NamedTuple


class Subject(NamedTuple):
    """Things that belong together, in the order in which they are told of."""

    title: str
    about: str
    names: tuple[str, ...]


CHECKING: Final = ("is_forward", "read_day", "are_days")
"""The functions that types and tables check with: they must be there first."""

TABLES_BY_SUBJECT: Final = (
    Subject(
        "Tasks",
        "The one table that programs insert into, and what belongs to a row of it.",
        ("tasks", "dependencies", "archived_tasks"),
    ),
    Subject(
        "History",
        "What became of each attempt. Partitioned by day, so that retention drops partitions instead of deleting rows.",
        (
            "executions",
            "executions_default",
            "execution_logs",
            "execution_logs_default",
            "missed_ticks",
            "missed_ticks_default",
        ),
    ),
    Subject(
        "Queues",
        "Their settings, and the counts that limits across all workers need.",
        ("queues", "slots", "starts", "turns"),
    ),
    Subject(
        "Workers",
        "What workers say of themselves and of what they found.",
        ("workers", "worker_hosts", "set_aside", "watchdog"),
    ),
    Subject("The register", "What workers say of the handlers of the application.", ("handlers", "task_defaults")),
    Subject("Time", "What schedules are computed by.", ("calendars", "timezones", "zone_rules")),
    Subject("Locks", "Named locks for programs.", ("locks",)),
    Subject("Administration", "", ("settings", "audit_log", "migrations")),
)

VIEWS_BY_SUBJECT: Final = (
    Subject(
        "What everybody may see",
        "Each shows a role the rows that concern it.",
        (
            "visible_tasks",
            "departed_tasks",
            "departed_keys",
            "known_tasks",
            "visible_executions",
            "visible_missed_ticks",
            "running_attempts",
            "visible_worker_hosts",
            "watched_tasks",
        ),
    ),
)

FUNCTIONS_BY_SUBJECT: Final = (
    Subject(
        "Scheduling and changing tasks",
        "What programs in any language call.",
        (
            "schedule",
            "schedule_by_key",
            "upsert",
            "task_id",
            "run_now",
            "enable",
            "disable",
            "cancel",
            "retry",
            "replan",
            "backfill",
            "skip_next",
            "status",
            "wait",
            "change_tasks",
            "may_change",
            "edit_payloads",
            "merge_patch",
            "differing",
            "give_up_key",
            "locked_task",
            "instant_after",
        ),
    ),
    Subject(
        "Inserting and editing a row",
        "What triggers do with each INSERT and UPDATE of pgsched.tasks.",
        (
            "prepare_task",
            "guard_task",
            "keep_ids_ahead",
            "check_schedule",
            "check_timezone",
            "touch_task",
            "move_due_clock",
            "announce_task",
            "wake_sleepers",
            "tell_cancelled",
            "watch_task",
        ),
    ),
    Subject(
        "The register",
        "What handlers and queues say of all of their tasks, and what becomes of types that nobody has registered.",
        (
            "register",
            "with_version",
            "code_of",
            "note_misfit",
            "set_defaults",
            "resolved",
            "check_type",
            "tell_unknown",
            "nearest_type",
            "check_payload",
            "recheck_payload",
        ),
    ),
    Subject(
        "Booking the ticks of schedules",
        "The first tick is booked by the INSERT, the next one by the finish of the one before, and anew by an edit.",
        (
            "book_new",
            "book_task",
            "booked",
            "first_tick",
            "due_at",
            "rebook",
            "replan_task",
            "settle_task",
            "guard_tick",
            "refuse_tick",
            "note_dropped",
            "note_rest",
            "pass_over",
            "declaration",
        ),
    ),
    Subject(
        "Cron expressions",
        "Fields become sets of bits; a walk jumps from field to field on the wall clock.",
        (
            "read_cron",
            "cron_problem",
            "cron_number",
            "shown_word",
            "number_problem",
            "calendar_days",
            "follow_calendar",
            "next_ticks",
            "cron_tick",
            "wall_from",
            "matching_days",
            "open_days",
            "month_days",
            "month_length",
            "is_excepted",
            "lowest_bit",
        ),
    ),
    Subject(
        "Intervals and time zones",
        "Ticks at an interval, the changes of the clocks, and new rules of zones.",
        (
            "next_interval_ticks",
            "grid_tick",
            "grid_point",
            "elapsed_part",
            "interval_parts",
            "early_reading",
            "clock_change",
            "read_zone",
            "offset_at",
            "move_tick",
            "follow_zones",
        ),
    ),
    Subject(
        "Workflows",
        "Tasks that wait for others, and groups that make their own children.",
        (
            "settle",
            "block_task",
            "check_dependencies",
            "add_dependencies",
            "change_dependencies",
            "watch_dependencies",
            "forget_dependencies",
            "fire_group",
            "join_group",
            "group_steps",
            "group_edges",
            "group_problem",
            "check_group",
            "recheck_group",
        ),
    ),
    Subject(
        "Queues, claims and limits",
        "Settings, what a claim may take, and claims that count what runs everywhere.",
        (
            "queues_in_use",
            "pause_queue",
            "resume_queue",
            "set_queue_events",
            "limit_queue",
            "unlimit_queue",
            "limits_problem",
            "check_limits",
            "announce_queue",
            "unpause_queue",
            "note_resumed",
            "is_claimable",
            "lock_was_lost",
            "claim_limited",
            "claim_queue",
            "pick_keyed",
            "due_by_keys",
            "next_keys",
            "key_rooms",
            "adopt_slots",
            "note_late_start",
        ),
    ),
    Subject(
        "Claims that fail",
        "The way of a worker around rows that the database lets nobody claim.",
        ("try_claims", "bury_unclaimed"),
    ),
    Subject(
        "Retention",
        "The history goes by whole days, finished tasks in small batches or when they are completed.",
        (
            "leave",
            "remember",
            "retention_rules",
            "pick_prunable",
            "prune_finished",
            "delete_apart",
            "history_days",
            "make_partitions",
            "drop_history",
            "hold_history",
            "prune_history",
            "note_worker",
        ),
    ),
    Subject("Locks", "Named locks for programs.", ("lock", "renew_lock", "unlock", "refuse_lock")),
    Subject(
        "For programs of earlier releases",
        "What nothing above calls any more.",
        ("claim_apart", "claim_from", "pick_by_turns", "due_of_keys", "delete_finished"),
    ),
)
