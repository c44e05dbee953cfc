"""Tests that share what is dear are run by one process."""

import runpy

import pytest

from pages import ROOT


@pytest.mark.skipif(pytest.version_tuple >= (9, 2), reason="pytest-xdist's issue 1386: no groups")
def test_a_group_of_tests_goes_to_one_process(request: pytest.FixtureRequest) -> None:
    """By its name, which pytest-xdist writes behind a test's; marks may come too late for that."""
    if request.config.getoption("loadgroup", default=None) is not True:
        pytest.skip("one process runs the suite, or --dist is not loadgroup")
    grouped = [item for item in request.session.items if item.get_closest_marker("xdist_group")]
    assert grouped
    assert [item.nodeid for item in grouped if "@" not in item.nodeid] == []


@pytest.mark.xdist_group("two")
@pytest.mark.parametrize("member", [0, 1])
def test_it_has_at_least_two_members(member: int) -> None:
    assert member < 2


@pytest.mark.parametrize("test", ["t.py::t", "t.py::C::t[a@b]", "t.py::t[x::]@y]", "a@b/t.py::t"])
def test_outcomes_are_written_without_the_group(test: str) -> None:
    ungrouped = runpy.run_path(str(ROOT / "ci" / "plugins" / "outcomes.py"))["ungrouped"]
    assert ungrouped(test) == test
    assert ungrouped(f"{test}@two words") == test
