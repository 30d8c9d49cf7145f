"""Generated clients: the same text for the same register, and nothing of a name or a docstring becomes code."""

from __future__ import annotations

import json
import random
import re

import pytest
from jsonschema import Draft202012Validator, ValidationError
from referencing.jsonschema import EMPTY_REGISTRY

from pgsched.ops.generate.go import go, go_text
from pgsched.ops.generate.json_schema import json_schema
from pgsched.ops.generate.names import comment_lines, distinct, pascal
from pgsched.ops.generate.registered import TaskType, of_entries
from pgsched.ops.generate.typescript import typescript
from tests.support.generate_app import HOSTILE_TEXT, all_types


def test_order_of_the_register_does_not_change_the_text() -> None:
    types = all_types()
    mixed = [{"task_type": one.task_type, "payload_schema": one.payload_schema, "description": one.description}
             for one in random.sample(types, len(types))]  # fmt: skip
    assert typescript(of_entries(mixed), version=1) == typescript(types, version=1)
    assert go(of_entries(mixed), version=1, package="tasks") == go(types, version=1, package="tasks")
    assert json_schema(of_entries(mixed), version=1) == json_schema(types, version=1)


def test_head_says_what_it_was_made_from_and_not_to_edit_it() -> None:
    types = all_types()
    for text in (typescript(types, version=45), go(types, version=45, package="tasks")):
        head = text[:300]
        assert re.search("do not edit", head, re.IGNORECASE)
        assert f"Version 45 of the schema of pgsched; {len(types)} types of tasks." in head
    assert "Version 45 of the schema" in json_schema(types, version=45)


def test_functions_are_called_as_their_types_and_take_typed_payloads() -> None:
    text = typescript(all_types(), version=1)
    assert "export function scheduleOrderPlace(" in text
    assert '  "lines": readonly (OrderPlaceLine)[];' in text
    assert '  "mode"?: "fast" | "slow";' in text
    assert "/** Place an order. */" in text
    text = go(all_types(), version=1, package="tasks")
    assert (
        "func ScheduleOrderPlace(ctx context.Context, db Querier, payload OrderPlacePayload, options Options)" in text
    )
    assert re.search(r'\tLines +\[\]OrderPlaceLine +`json:"lines"`', text)


def test_comments_and_texts_of_hostile_names_stay_comments_and_texts() -> None:
    script = typescript(all_types(), version=1)
    outside = re.sub(r'"(?:\\.|[^"\\\n])*"', '""', re.sub(r"/\*.*?\*/", "", script, flags=re.DOTALL))
    assert "evil" not in outside
    assert "process" not in outside
    program = go(all_types(), version=1, package="tasks")
    outside = re.sub(r'"(?:\\.|[^"\\\n])*"', '""', re.sub(r"//.*", "", program))
    assert "evil" not in outside
    assert "process" not in outside
    assert script.isascii() or not re.search("[\x00\u2028\u202e]", script)
    assert not re.search("[\x00\u2028\u202e\r]", program)


def test_comment_of_any_text_has_lines_without_ends_and_nothing_unseen() -> None:
    lines = comment_lines(HOSTILE_TEXT + "\n\n\n\nend\u200b\n\n")
    assert lines == ['*/ process.exit(1); /* "`${evil}` \\', "", "   */", "", "end"]
    assert comment_lines(None) == []
    assert go_text('a"\\`\n') == '"a\\"\\\\`\\U0000000a"'


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("mail.send", "MailSend"),
        ("sendMail", "SendMail"),
        ("123", "T123"),
        ("a/b c", "ABC"),
        ("x" * 200, "X" + "x" * 79),
    ],
)
def test_name_of_a_type_is_an_identifier(text: str, name: str) -> None:
    assert pascal(text) == name


def test_names_that_are_alike_get_digests_that_do_not_depend_on_others() -> None:
    made = distinct({"a": "Mail", "b": "mail", "c": "Other", "d": "Row"}, reserved=["Row"])
    assert made["c"] == "Other"
    assert len({name.lower() for name in made.values()}) == 4
    assert distinct({"b": "mail", "a": "Mail"})["a"] == made["a"]
    assert re.fullmatch("T[0-9a-f]{8}", pascal("почта"))


def test_bundle_of_schemas_accepts_tasks_that_fit_and_refuses_others() -> None:
    types = [one for one in all_types() if one.task_type in ("mail.send", "order.place", "почта")]
    bundle = json.loads(json_schema(types, version=1))
    Draft202012Validator.check_schema(bundle)
    validator = Draft202012Validator(bundle, registry=EMPTY_REGISTRY)
    line = {"sku": "x"}
    validator.validate({"task_type": "order.place", "payload": {"number": 1, "lines": [line], "colour": "red"}})
    validator.validate({"task_type": "почта", "payload": {"кому": "ada"}})
    for task in (
        {"task_type": "order.place", "payload": {"number": 1, "lines": [{"count": 1}], "colour": "red"}},
        {"task_type": "mail.send", "payload": {"to": 7}},
        {"task_type": "mail"},
        {"payload": {}},
    ):
        with pytest.raises(ValidationError):
            validator.validate(task)


def test_type_whose_payload_nobody_describes_takes_any_object() -> None:
    one = TaskType(task_type="plain", payload_schema=None, description=None)
    assert "export type PlainPayload = { readonly [key: string]: unknown };" in typescript([one], version=1)
    assert "type PlainPayload map[string]any" in go([one], version=1, package="tasks")
