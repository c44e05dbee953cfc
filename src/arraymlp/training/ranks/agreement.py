"""What all processes of a training must be given alike: found out before its first step."""

import socket
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from arraymlp.backends.versions import versions
from arraymlp.data.data import Data
from arraymlp.data.fingerprint import differing, fingerprint
from arraymlp.training.checkpoint import beginning
from arraymlp.training.description import described_settings, differing_settings
from arraymlp.training.ranks.ranks import RankError, Ranks
from arraymlp.training.run import Run
from arraymlp.training.settings import Settings

SHARDS = 8  # of a group, where their number is not given


def in_shards(settings: Settings, data: Data, grouped: bool, profile: bool) -> Settings:
    """The settings, of a group with a number of shards.

    Raises:
        ValueError: shards that cannot be, or with what is measured or trained otherwise.
    """
    if grouped and settings.shards is None:
        settings = replace(settings, shards=min(SHARDS, settings.batch_size))
    shards = settings.shards
    if shards is None:
        return settings
    if shards > settings.batch_size:
        raise ValueError(
            f"shards={shards} cannot be cut out of minibatches of batch_size={settings.batch_size}"
        )
    for name, so in (("probes", settings.probes), ("profile", profile)):
        if so:
            raise ValueError(f"{name}=True looks at whole minibatches, and not at shards of them")
    if data.row_plans is not None:
        raise ValueError("shards are of minibatches that all members share: these have their own")
    return settings


def require_alike(ranks: Ranks, run: Run, keeps: bool) -> None:
    """A RankError, on all ranks, where one has other data, settings or versions than rank 0.

    Args:
        ranks: the processes.
        run: of each, before its first step.
        keeps: whether this one was given a checkpoint.
    """
    if ranks.size == 1:
        return
    shards = run.settings.shards or 0
    if ranks.size > shards:
        raise ValueError(
            f"{shards} shards are too few for {ranks.size} processes: give shards={ranks.size} or "
            "more, and as many wherever the same bits are to come out"
        )
    own = {
        "versions": {**versions(), "the backend": f"{run.backend.name} {run.backend.version}"},
        "settings": described_settings(run.settings),
        "data": fingerprint(run.required_data(), run.backend),
        "began": beginning(run),
        "steps": run.steps_done,
        "keeps": keeps,
        "machine": socket.gethostname(),
    }
    every = ranks.gather(own)
    told = [
        f"rank {r} on {its['machine']}: {'; '.join(differences)}"
        for r, its in enumerate(every)
        if (differences := _differences(its, every[0]))
    ]
    if told:
        raise RankError(f"the ranks are not given the same as rank 0. {'. '.join(told)}")


def _differences(its: Mapping[str, Any], first: Mapping[str, Any]) -> list[str]:
    """In what a rank differs from rank 0, in words."""
    versions, of_first = its["versions"], first["versions"]
    differ = [
        f"{name} is {versions.get(name, 'not used')}, at rank 0 {of_first.get(name, 'not used')}"
        for name in dict.fromkeys([*of_first, *versions])
        if versions.get(name) != of_first.get(name)
    ]
    words = [
        *differing_settings(its["settings"], first["settings"]),
        *differing(its["data"], first["data"]),
    ]
    differ += [_at_first(text) for text in words]
    if its["began"] != first["began"] or its["steps"] != first["steps"]:
        differ.append("the network that it begins with is another one")
    if its["keeps"] != first["keeps"]:
        differ.append("it has a checkpoint, or none, other than rank 0")
    return differ


def _at_first(text: str) -> str:
    """Of "x was 1, is 2", which compares with a time before: "x at rank 0 is 1, here 2"."""
    return text.replace(" was ", " at rank 0 is ", 1).replace(", is ", ", here ", 1)
