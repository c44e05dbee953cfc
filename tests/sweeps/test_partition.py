"""How populations are partitioned: amounts of memory, who is in which stack, what members take."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from arraymlp import Backend, Dropout, EarlyStopping, Settings
from arraymlp.data.row_plans import RowPlan
from arraymlp.optimizers import Adam
from arraymlp.sweeps import memory, partition
from arraymlp.sweeps.memory import member_bytes, memory_budget, step_bytes, step_products
from arraymlp.sweeps.partition import partition_members
from arraymlp.sweeps.population import MemberSpec

SIZES = (4, 6, 5, 3)


def spec(row_plan: RowPlan | None = None, **given: Any) -> MemberSpec:
    return MemberSpec(Settings(**{"hidden": SIZES[1:-1], "batch_size": 8, **given}), row_plan)


def row_plan(n: int = 16) -> RowPlan:
    return RowPlan(np.arange(n))


@pytest.mark.parametrize(
    ("stated", "bytes_"),
    [
        ("2GB", 2_000_000_000),
        ("2 GB", 2_000_000_000),
        ("1.5G", 1_500_000_000),
        ("2gb", 2_000_000_000),
        ("500 MiB", 500 * 2**20),
        ("1GiB", 2**30),
        ("3KB", 3000),
        ("1TiB", 2**40),
        ("700B", 700),
        ("700", 700),
        (12345, 12345),
        (np.int64(99), 99),
        (2e9, 2_000_000_000),
    ],
)
def test_amounts_of_memory(stated: Any, bytes_: int, numpy_backend: Backend) -> None:
    budget = memory_budget(stated, numpy_backend)
    assert budget == bytes_
    assert type(budget) is int


@pytest.mark.parametrize(
    "stated", ["much", "", "2 PB", "-1GB", "1.2.3GB", "GB", 0, -5, 0.5, True, "0", ["2GB"], "."]
)
def test_what_is_no_amount_is_refused(stated: Any, numpy_backend: Backend) -> None:
    with pytest.raises(ValueError, match='memory must be an amount such as "2GB" or a number of'):
        memory_budget(stated, numpy_backend)


def test_half_of_what_is_free_is_the_default(
    quick_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert memory_budget(None, quick_backend) > 2**20
    monkeypatch.setattr(Backend, "free_memory", lambda self: 1000)
    assert memory_budget(None, quick_backend) == 500
    monkeypatch.setattr(Backend, "free_memory", lambda self: None)
    monkeypatch.setattr(memory, "free_host_memory", lambda: 4000)
    assert memory_budget(None, quick_backend) == 2000


# --- what a member takes -------------------------------------------------------------------------

PLAIN: dict[str, Any] = {"optimizer": "sgd", "epochs": 2}


@pytest.mark.parametrize(
    "more",
    [
        {"optimizer": "momentum"},
        {"optimizer": Adam()},
        {"weight_average": 0.9},
        {"early_stopping": EarlyStopping("loss")},
        {"dtype": "float64"},
    ],
    ids=str,
)
def test_what_is_kept_is_counted(more: dict[str, Any]) -> None:
    plain, with_more = (member_bytes(spec(**{**PLAIN, **m}), SIZES, 0) for m in ({}, more))
    parameters = 5 * 6 + 7 * 5 + 6 * 3
    assert with_more - plain >= 4 * parameters


def test_more_of_everything_takes_more() -> None:
    assert member_bytes(spec(), (4, 600, 5, 3), 0) > member_bytes(spec(), SIZES, 0)
    wide = (5000, 6, 5, 3)
    rows = {"batch_size": 500}
    plain = member_bytes(spec(**rows), wide, 0)
    assert member_bytes(spec(batch_size=5000), wide, 0) > plain
    assert member_bytes(spec(row_plan(), **rows), wide, 0) >= plain + 4 * 500 * 5000 * 0.9
    assert member_bytes(spec(dropout=Dropout(input=0.1), **rows), wide, 0) > plain
    big = {"batch_size": 20_000}
    assert member_bytes(spec(dropout=0.1, **big), SIZES, 0) > member_bytes(spec(**big), SIZES, 0)
    metrics = {"metrics": ("accuracy",)}
    assert member_bytes(spec(**metrics), SIZES, 10_000) > member_bytes(spec(**metrics), SIZES, 10)
    assert step_bytes(spec(batch_size=16), SIZES) > step_bytes(spec(), SIZES)
    assert step_products(spec(), SIZES) == 3 * 8 * (4 * 6 + 6 * 5 + 5 * 3)


# --- stacks --------------------------------------------------------------------------------------


def stacks_of(specs: list[MemberSpec], fits: float, backend: Backend) -> list[list[int]]:
    return partition_members(specs, SIZES, 0, int(member_bytes(specs[0], SIZES, 0) * fits), backend)


@pytest.mark.parametrize("n_plans", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("n", [1, 2, 7, 12, 30])
@pytest.mark.parametrize("fits", [1, 2.5, 4, 11, 100])
def test_stacks_have_each_member_once_and_are_of_nearly_one_size(
    n_plans: int, n: int, fits: float, strict_backend: Backend
) -> None:
    row_plans = [row_plan() for _ in range(n_plans)] or [None]
    specs = [spec(row_plans[k % len(row_plans)]) for k in range(n)]
    stacks = stacks_of(specs, fits, strict_backend)
    assert sorted(k for stack in stacks for k in stack) == list(range(n))
    sizes = [len(stack) for stack in stacks]
    assert min(sizes) > 0
    assert max(sizes) - min(sizes) <= max(n_plans, 1)
    for stack in stacks:  # members with one row plan stand side by side
        plans = [id(specs[k].row_plan) for k in stack]
        changes = sum(a != b for a, b in pairwise(plans))
        assert changes == len(set(plans)) - 1
        assert stack == sorted(stack, key=lambda k: (k % len(row_plans), k))


@pytest.mark.parametrize(("n", "fits"), [(12, 4), (12, 5), (30, 7), (9, 1), (10, 3), (24, 6)])
@pytest.mark.parametrize("n_plans", [1, 2, 3])
def test_no_stack_is_larger_than_fits(
    n: int, fits: int, n_plans: int, strict_backend: Backend
) -> None:
    row_plans = [row_plan() for _ in range(n_plans)]
    specs = [spec(row_plans[k % n_plans]) for k in range(n)]
    assert max(len(stack) for stack in stacks_of(specs, fits, strict_backend)) <= fits


def test_a_stack_has_as_many_members_of_each_row_plan_as_can_be(strict_backend: Backend) -> None:
    row_plans = [row_plan() for _ in range(3)]
    stacks = stacks_of([spec(row_plans[k % 3]) for k in range(12)], 6, strict_backend)
    assert stacks == [[0, 3, 1, 4, 2, 5], [6, 9, 7, 10, 8, 11]]


def test_all_that_fits_is_one_stack_on_a_device(strict_backend: Backend) -> None:
    assert len(stacks_of([spec() for _ in range(500)], 500, strict_backend)) == 1


def test_one_network_that_does_not_fit_is_refused(strict_backend: Backend) -> None:
    with pytest.raises(ValueError, match=r"one network 4-6-5-3 takes about .* bytes .* of 8, but"):
        stacks_of([spec()], 0.99, strict_backend)


def test_numpy_shares_its_cores_where_that_pays(
    numpy_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition, "cores", lambda: 4)
    specs = [spec() for _ in range(40)]
    assert len(stacks_of(specs, 1000, numpy_backend)) == 1
    monkeypatch.setattr(partition, "WORTH_A_THREAD", step_products(specs[0], SIZES) * 10)
    assert [len(s) for s in stacks_of(specs, 1000, numpy_backend)] == [10] * 4
    # Four stacks are in memory at once.
    assert max(len(s) for s in stacks_of(specs, 20, numpy_backend)) <= 5


def test_numpy_keeps_a_stack_in_the_caches(
    numpy_backend: Backend, strict_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition, "cores", lambda: 1)
    monkeypatch.setattr(partition, "WORTH_A_THREAD", 1)
    specs = [spec() for _ in range(40)]
    monkeypatch.setattr(partition, "CACHE", 10 * step_bytes(specs[0], SIZES))
    assert [len(s) for s in stacks_of(specs, 1000, numpy_backend)] == [10] * 4
    assert len(stacks_of(specs, 1000, strict_backend)) == 1
