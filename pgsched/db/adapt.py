"""How values are sent to PostgreSQL and received on our own connections.

A worker spends most of its time on the arrays of a finish and the rows of a claim, so both take the shortest path:
arrays are packed into their binary form in one step, and an empty JSON object is not parsed.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from itertools import chain, repeat
from typing import Any

import psycopg
from psycopg.abc import AdaptContext
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format

from pgsched.domain.interval import Interval

_INTERVAL = struct.Struct(">qii")
_HEADER = struct.Struct(">iiIii")
_EMPTY_OBJECT = b"\x01{}"  # jsonb's version, then the text


class BigInts(tuple[int, ...]):
    """Numbers to be sent as a bigint array."""


class Doubles(tuple[float, ...]):
    """Numbers to be sent as a double precision array."""


class _IntervalLoader(Loader):
    """An interval in its three parts, which a timedelta would lose: a month has no fixed number of days."""

    format = Format.BINARY

    def load(self, data: bytes | bytearray | memoryview) -> Interval:
        microseconds, days, months = _INTERVAL.unpack(data)
        return Interval(months, days, microseconds)


class _IntervalDumper(Dumper):
    oid = psycopg.adapters.types["interval"].oid

    def dump(self, obj: Interval) -> bytes:
        return obj.to_text().encode()


class _JsonbLoader(Loader):
    format = Format.BINARY

    def load(self, data: bytes | bytearray | memoryview) -> Any:
        raw = bytes(data)
        return {} if raw == _EMPTY_OBJECT else json.loads(raw[1:])


class _BigIntsDumper(Dumper):
    format = Format.BINARY
    oid = psycopg.adapters.types["int8"].array_oid

    def dump(self, obj: BigInts) -> bytes:
        return _pack(obj, "q", psycopg.adapters.types["int8"].oid)


class _DoublesDumper(Dumper):
    format = Format.BINARY
    oid = psycopg.adapters.types["float8"].array_oid

    def dump(self, obj: Doubles) -> bytes:
        return _pack(obj, "d", psycopg.adapters.types["float8"].oid)


def _pack(values: tuple[float, ...], code: str, oid: int) -> bytes:
    """Return an array of eight-byte elements in PostgreSQL's binary format: a header, then sizes and values."""
    count = len(values)
    if not count:
        return struct.pack(">iiI", 0, 0, oid)
    pairs: Iterable[float] = chain.from_iterable(zip(repeat(8, count), values, strict=True))
    return _HEADER.pack(1, 0, oid, count, 1) + struct.pack(">" + f"i{code}" * count, *pairs)


def adapt(connection: AdaptContext) -> None:
    """Register these adapters on one connection."""
    adapters = connection.adapters
    adapters.register_loader("interval", _IntervalLoader)
    adapters.register_loader("jsonb", _JsonbLoader)
    for kind, dumper in ((Interval, _IntervalDumper), (BigInts, _BigIntsDumper), (Doubles, _DoublesDumper)):
        adapters.register_dumper(kind, dumper)
