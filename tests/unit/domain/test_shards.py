"""Which shard a task belongs to: a hash that any language can repeat, and what databases say of moved tenants."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgsched import ConfigError
from pgsched.domain.shards import KnownShard, Placement, ShardMap, hashed_shard, read_map, score, shard_key
from tests.support.processes import CHECKOUT

NAMES = st.lists(st.from_regex(r"[a-z]{1,5}", fullmatch=True), min_size=1, max_size=6, unique=True)


def known(here: str, *names: str, added: str = "") -> list[KnownShard]:
    return [KnownShard(name=name, is_here=name == here, is_hashed=name != added) for name in names]


def placed(state: str, shard: str, *, version: int = 1, tenant: str = "ada") -> Placement:
    return Placement(tenant_id=tenant, state=state, shard=shard, peer="a", version=version)


def test_the_page_states_the_scores_as_they_are() -> None:
    page = (CHECKOUT / "docs/shards.md").read_text(encoding="utf-8")
    vectors = re.findall(r"^\| `(\w+)` \| `(\S+)` \| (\d+) \|$", page, re.MULTILINE)
    assert len(vectors) >= 6
    assert all(score(shard, key) == int(number) for shard, key, number in vectors)


def test_a_tenant_is_hashed_or_else_the_queue() -> None:
    assert shard_key("ada", "mail") == "tenant:ada"
    assert shard_key(None, "mail") == "queue:mail"
    assert shard_key() == "queue:default"


@given(names=NAMES, key=st.text(max_size=20))
def test_the_order_of_the_names_does_not_matter(names: list[str], key: str) -> None:
    assert hashed_shard(names, key) == hashed_shard(sorted(names, reverse=True), key)


@given(names=NAMES, added=st.from_regex(r"[a-z]{1,5}", fullmatch=True), key=st.text(max_size=20))
def test_a_key_stays_or_goes_to_the_shard_that_is_added(names: list[str], added: str, key: str) -> None:
    assert hashed_shard([*names, added], key) in (hashed_shard(names, key), added)


def test_keys_are_spread_evenly() -> None:
    counts = Counter(hashed_shard("abc", f"tenant:{number}") for number in range(3000))
    assert all(900 < count < 1100 for count in counts.values())


def test_a_shard_that_was_added_gets_no_tenant_by_hash() -> None:
    said = {name: (known(name, "a", "b", "new", added="new"), []) for name in ("a", "b", "new")}
    found = read_map(said)
    assert {found.home(str(number)) for number in range(100)} == {"a", "b"}


def test_the_highest_version_says_where_a_tenant_is() -> None:
    found = ShardMap(hashed=("a", "b", "c"))
    for one in (placed("left", "b", version=1), placed("here", "c", version=2), placed("here", "b", version=1)):
        found.note(one)
    assert found.home("ada") == "c"


def test_a_tenant_that_is_only_announced_is_still_where_it_was() -> None:
    found = ShardMap(hashed=("a",))
    found.note(placed("arriving", "b"))
    assert found.home("ada") == "a"
    found.note(placed("leaving", "b"))
    assert found.home("ada") == "b"


@pytest.mark.parametrize(
    ("shards", "message"),
    [
        (known("b", "a", "b"), "the database that is given as a is shard b"),
        ([], "database a is not a shard yet: run 'pgsched shard init'"),
    ],
)
def test_a_database_that_is_not_the_shard_of_its_name_is_refused(shards: list[KnownShard], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        read_map({"a": (shards, [])})


def test_databases_that_disagree_about_the_hash_are_refused() -> None:
    said = {"a": (known("a", "a", "b"), list[Placement]()), "b": (known("b", "a", "b", added="b"), [])}
    with pytest.raises(ConfigError, match="shard b hashes over a, another over a, b"):
        read_map(said)
