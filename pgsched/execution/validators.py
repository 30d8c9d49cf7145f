"""Validators and encoders that pydantic builds from annotations, which are imported when the first one is used.

Payloads are decoded by pydantic's rules for JSON, not strictly: ``"5"`` fits ``int``, ``1`` does not fit ``str``. Where
the rules are the same for parsed values, the payload is validated as it was claimed, in a third of the time; bytes,
unions and strict models differ, and are validated as text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, Final, NotRequired

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import CoreConfig, SchemaSerializer, SchemaValidator, from_json, to_json
from typing_extensions import TypedDict  # pydantic takes no other before Python 3.12

from pgsched.domain.errors import InvalidTask, PayloadMismatch, ResultMismatch
from pgsched.domain.json_text import MAX_DEPTH, MAX_JSON_BYTES, KeyTwice, encode_json, unique_keys
from pgsched.domain.plain_values import plain
from pgsched.execution.misfits import faults_of
from pgsched.observability.logs import get_logger

log = get_logger("pgsched.worker")

_PAYLOAD: Final = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="constants")
_PAYLOAD_CORE: Final = CoreConfig(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="constants")
"""In a payload NaN is rejected as everywhere else, so it must not become null first."""
_RESULT: Final = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="strings")
_RESULT_CORE: Final = CoreConfig(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="strings")
"""Text that pydantic decodes as the number."""

_VALUES = ("any", "none", "bool", "int", "float", "str", "date", "datetime", "time", "timedelta", "uuid", "decimal")
_PARTS = ("list", "dict", "tuple", "set", "frozenset", "literal", "enum", "nullable", "default")
_MODELS = ("model", "model-fields", "model-field", "dataclass", "dataclass-args", "dataclass-field")
_OTHERS = ("typed-dict", "typed-dict-field", "definitions", "definition-ref")
_ALIKE: Final = frozenset((*_VALUES, *_PARTS, *_MODELS, *_OTHERS))
"""Kinds of schemas that decode a parsed value like its JSON text, unless they are strict."""


class PayloadType:
    """The types of a payload's keys."""

    def __init__(
        self, task_type: str, annotations: Mapping[str, Any], core_schema: Any, defaults: Mapping[str, Any]
    ) -> None:
        self._task_type = task_type
        self._names = annotations.keys()
        self._core_schema = core_schema
        self._defaults = defaults
        self._validator = SchemaValidator(core_schema, _PAYLOAD_CORE)
        self._serializer = SchemaSerializer(core_schema, _PAYLOAD_CORE)
        self.is_parsed = _reads_alike(core_schema)
        """Whether a payload is validated as parsed, not as text."""
        self._validate_parsed = self._validator.validate_python  # looked up once, not for every task

    def decode(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments; keys without a type are unchanged. Raises PayloadMismatch."""
        try:
            if self.is_parsed:
                found: dict[str, Any] = self._validate_parsed(payload)
            else:
                found = self._validator.validate_json(to_json(payload))
        except ValidationError as error:
            raise self._misfit(error, payload) from None  # pydantic's own text contains the full values
        return found if len(found) == len(payload) else {**payload, **found}

    def encode(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Return the payload in JSON form. Raises PayloadMismatch, and InvalidTask for what cannot become JSON."""
        typed = {name: _in_order(value) for name, value in payload.items() if name in self._names}
        try:
            text = self._serializer.to_json(typed, warnings=False, by_alias=True)
        except Exception:  # noqa: BLE001 - serializers may be foreign code; the cause is searched below
            text = encode_json(plain(typed, "payload", _refuse), "payload").encode()
        self.check_text(text)
        try:
            return {**payload, **json.loads(text, object_pairs_hook=unique_keys)}
        except KeyTwice as error:
            raise InvalidTask(f"must have keys that differ as text: {error}", field="payload") from None

    def check_text(self, text: str | bytes) -> None:
        """Raise PayloadMismatch unless a payload, as JSON text, fits."""
        try:
            self._validator.validate_json(text)
        except ValidationError as error:
            raise self._misfit(error, json.loads(text)) from None

    def schemas(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the JSON Schemas of the keys, and the definitions that they refer to."""
        whole = _json_schema(self._core_schema, "validation") or {}
        properties = whole.get("properties", {})
        for name, value in self._defaults.items():
            try:
                encoded = self._serializer.to_json({name: _in_order(value)}, warnings=False, by_alias=True)
                properties[name]["default"] = json.loads(encode_json(json.loads(encoded)[name], name))
            except Exception:  # noqa: BLE001, S112 - a default that is not JSON: a marker of the handler's own
                continue
        return properties, whole.get("$defs", {})

    def _misfit(self, error: ValidationError, given: object) -> PayloadMismatch:
        return PayloadMismatch(f"payload does not fit handler {self._task_type!r}: {faults_of(error, given)}")


class WholePayload:
    """The type of a whole payload."""

    def __init__(self, task_type: str, core_schema: Any) -> None:
        self._task_type = task_type
        self._validator = SchemaValidator(core_schema, _PAYLOAD_CORE)
        self._is_parsed = _reads_alike(core_schema)

    def decode(self, payload: dict[str, Any]) -> Any:
        """Return a payload decoded by its type. Raises PayloadMismatch."""
        try:
            if self._is_parsed:
                return self._validator.validate_python(payload)
            return self._validator.validate_json(to_json(payload))
        except ValidationError as error:
            raise self._misfit(error, payload) from None

    def check_value(self, payload: Mapping[str, Any]) -> None:
        """Raise PayloadMismatch unless a payload fits, and InvalidTask unless it is JSON."""
        self.check_text(encode_json(payload, "payload"))

    def check_text(self, text: str | bytes) -> None:
        """Raise PayloadMismatch unless a payload, as JSON text, fits."""
        try:
            self._validator.validate_json(text)
        except ValidationError as error:
            raise self._misfit(error, json.loads(text)) from None

    def _misfit(self, error: ValidationError, given: object) -> PayloadMismatch:
        return PayloadMismatch(f"payload does not fit handler {self._task_type!r}: {faults_of(error, given)}")


class ResultType:
    """The type of a result."""

    def __init__(self, task_type: str, core_schema: Any) -> None:
        self._task_type = task_type
        self._core_schema = core_schema
        self._validator = SchemaValidator(core_schema, _RESULT_CORE)
        self._serializer = SchemaSerializer(core_schema, _RESULT_CORE)
        self._may_merge = any(map(_has_other_keys, _schemas(core_schema)))

    def encode(self, value: object) -> tuple[str | None, str | None]:
        """Return a result as JSON text, None when that is impossible, and how it deviates from the annotation."""
        misfit = None
        try:
            value = self._validator.validate_python(value)
        except ValidationError as error:
            misfit = f"result does not fit the annotation of handler {self._task_type!r}: {faults_of(error, value)}"
        except Exception as error:  # noqa: BLE001 - the work is done, whatever a validator of the user raises
            misfit = f"result cannot be compared with the annotation of handler {self._task_type!r}: {error!r:.200}"
        try:
            encoded = self._serializer.to_json(value, warnings=False, by_alias=True)
            if self._may_merge or misfit is not None:
                json.loads(encoded, object_pairs_hook=unique_keys)
            return _storable(encoded), misfit
        except Exception:  # noqa: BLE001 - the caller handles it
            return None, misfit

    def decode(self, value: object) -> Any:
        """Return a stored result, decoded by the annotation. Raises ResultMismatch."""
        try:
            return self._validator.validate_json(to_json(value))
        except ValidationError as error:
            raise ResultMismatch(
                f"result does not fit the annotation of handler {self._task_type!r}: {faults_of(error, value)}"
            ) from None

    def schema(self) -> dict[str, Any] | None:
        """Return the JSON Schema."""
        return _json_schema(self._core_schema, "serialization")


def payload_type(task_type: str, annotations: Mapping[str, Any], defaults: Mapping[str, Any]) -> PayloadType | None:
    """Build the types of a payload; annotations that pydantic cannot use are left out. None if none remains."""
    try:
        return PayloadType(task_type, annotations, _object_schema(annotations), defaults)
    except Exception as error:  # noqa: BLE001 - pydantic raises TypeError, NameError and others
        kept = {name: annotation for name, annotation in annotations.items() if _known(task_type, name, annotation)}
        if len(kept) == len(annotations):  # each works by itself, so it is unknown which one to leave out
            _ignore(task_type, "all", error)
            return None
        return payload_type(task_type, kept, defaults) if kept else None


def whole_payload(task_type: str, annotation: Any) -> WholePayload | None:
    """Build the type of a whole payload; None when pydantic cannot use it."""
    if not _known(task_type, "payload", annotation):
        return None
    return WholePayload(task_type, _adapter(annotation, _PAYLOAD).core_schema)


def result_type(task_type: str, annotation: Any) -> ResultType | None:
    """Build the type of a result; None when pydantic cannot use it."""
    if not _known(task_type, "return", annotation):
        return None
    try:
        return ResultType(task_type, _adapter(annotation, _RESULT).core_schema)
    except Exception as error:  # noqa: BLE001 - without it the result is encoded by its own type
        _ignore(task_type, "return", error)
        return None


def _adapter(annotation: Any, config: ConfigDict) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(annotation, config=config)
    except Exception:  # noqa: BLE001 - models have their own configuration and accept no other
        return TypeAdapter(annotation)


def _object_schema(annotations: Mapping[str, Any]) -> Any:
    make: Any = TypedDict  # mypy takes only literal keys
    payload = make("Payload", {name: NotRequired[annotation] for name, annotation in annotations.items()})
    payload.__pydantic_config__ = _PAYLOAD
    core_schema: Any = TypeAdapter(payload).core_schema
    top = core_schema["schema"] if core_schema["type"] == "definitions" else core_schema
    for field in top["fields"].values():  # the keys of a payload are the names of the parameters
        field.pop("validation_alias", None)
        field.pop("serialization_alias", None)
    return core_schema


def _known(task_type: str, name: str, annotation: Any) -> bool:
    try:
        core_schema: Any = TypeAdapter(annotation).core_schema
        SchemaValidator(core_schema)
    except Exception as error:  # noqa: BLE001 - pydantic raises TypeError, NameError and others
        _ignore(task_type, name, error)
        return False
    return True


def _ignore(task_type: str, name: str, error: Exception) -> None:
    reason = str(error).partition("\n")[0]
    log.warning("annotation_ignored", task_type=task_type, parameter=name, reason=reason)


def _in_order(value: object) -> object:
    """Return a set as a list in stable order, so that an unchanged payload is recognized as unchanged."""
    if isinstance(value, set | frozenset):
        try:
            return sorted(value)
        except TypeError:
            return sorted(value, key=repr)
    return value


def _reads_alike(core_schema: Any) -> bool:
    """Whether a parsed value may be validated instead of its text."""
    return all(one["type"] in _ALIKE and not _differs(one) for one in _schemas(core_schema))


def _differs(schema: Mapping[str, Any]) -> bool:
    """Whether a kind that usually decodes alike does not here."""
    if any(not isinstance(word, str | int | None) or isinstance(word, Enum) for word in schema.get("expected", ())):
        return True
    return bool(schema.get("strict") or schema.get("config", {}).get("strict"))


def _has_other_keys(schema: Mapping[str, Any]) -> bool:
    """Whether a value may be an object in which two keys become the same text, ``{1: "a", "1": "b"}``."""
    if schema["type"] == "dict":
        keys: str = schema.get("keys_schema", {"type": "any"})["type"]
        return keys != "str"
    return bool(schema["type"] == "any")


def _schemas(part: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every schema inside one, itself first."""
    if isinstance(part, Mapping):
        if isinstance(part.get("type"), str):
            yield part
        for key, inner in part.items():
            if key not in ("metadata", "config", "default", "expected", "members", "serialization"):
                yield from _schemas(inner)
    elif isinstance(part, list | tuple):
        for inner in part:
            yield from _schemas(inner)


class _JsonSchema(GenerateJsonSchema):
    """Omits titles that repeat the names of the fields in other letters."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's
        """Never."""
        return False

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> Any:  # noqa: ARG002 - pydantic's
        """Omit a type that JSON Schema does not have, instead of failing for all."""
        return {}


def _json_schema(core_schema: Any, mode: Any) -> dict[str, Any] | None:
    try:
        schema = _JsonSchema(by_alias=True).generate(core_schema, mode=mode)
    except Exception:  # noqa: BLE001 - some types have no schema: then none is stated
        return None
    if schema.get("title") == "Payload":
        del schema["title"]
    return schema


def _storable(encoded: bytes) -> str:
    """Return JSON text by the rules of :func:`encode_json`, at no cost for plain values. Raises InvalidTask."""
    nested = encoded.count(b"[") + encoded.count(b"{")
    if nested > MAX_DEPTH or len(encoded) > MAX_JSON_BYTES // 2 or b"\\u0000" in encoded:
        return encode_json(from_json(encoded), "result")
    return encoded.decode()


def _refuse(path: str, item: object) -> str:
    raise InvalidTask(f"must be JSON, or of the annotated type, got a {type(item).__name__}", field=path)
