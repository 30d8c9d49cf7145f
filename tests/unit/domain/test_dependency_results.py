"""Results of dependencies, by id and by name."""

from __future__ import annotations

import pytest

from pgsched.domain.dependency_results import Results


def test_a_result_is_found_by_id_and_by_name() -> None:
    results = Results([(2, "extract", {"rows": 3}), (1, None, None)])
    assert (results[2], results["extract"], results[1]) == ({"rows": 3}, {"rows": 3}, None)
    assert (list(results), len(results)) == ([2, 1], 2)
    assert ("extract" in results, 2 in results, "load" in results, 3 in results) == (True, True, False, False)
    assert results.get("load", 7) == 7


def test_a_name_that_several_have_is_refused_and_says_their_ids() -> None:
    results = Results([(1, "part", 10), (2, "part", 20)])
    assert (results[1], results[2]) == (10, 20)
    with pytest.raises(KeyError, match="2 dependencies are named 'part': use an id, 1, 2"):
        results["part"]


def test_a_dependency_that_is_named_twice_is_one() -> None:
    assert Results([(1, "part", 10), (1, "part", 10)])["part"] == 10


def test_what_is_not_there_is_a_key_error() -> None:
    for key in (1, "part"):
        with pytest.raises(KeyError):
            Results()[key]


def test_results_are_read_only() -> None:
    assert not hasattr(Results(), "__setitem__")
