"""The figures of an epoch: the network evaluated on the parts of the data that settings ask for."""

from arraymlp.backends.array import Array
from arraymlp.data.data import Data
from arraymlp.nn.network import Network
from arraymlp.training.engine import EngineChoice
from arraymlp.training.evaluation import evaluate
from arraymlp.training.ranks.ranks import Ranks
from arraymlp.training.run import Run


def evaluations(run: Run, choice: EngineChoice, ranks: Ranks) -> dict[str, Array]:
    """The figures asked for at an epoch's end, on the device."""
    data, settings, backend = run.required_data(), run.settings, run.backend
    if data.row_plans is None:
        return _evaluated(run.network, data, run, choice, ranks)
    if not data.part_names(settings):
        return {}
    parts = [
        _evaluated(run.network.slice_members(start, stop), own, run, choice, ranks)
        for start, stop, own in data.by_row_plan(settings, backend)
    ]
    return {name: backend.xp.concat([part[name] for part in parts]) for name in parts[0]}


def _evaluated(
    network: Network, data: Data, run: Run, choice: EngineChoice, ranks: Ranks
) -> dict[str, Array]:
    settings, figures = run.settings, dict[str, Array | None]()
    for part, X, y in data.parts(settings):
        own_ways = choice.evaluator(network), choice.forward(network)
        how = (settings.metrics, settings.window, *own_ways, ranks)
        result = evaluate(network, X, y, run.backend, *how)
        figures[f"{part}_loss"], figures[f"{part}_error"] = result.loss, result.error
        figures |= {f"{part}_{name}": value for name, value in result.metrics.items()}
        if part == "validation" and settings.probes:
            figures["predicted"] = result.predicted
    return {name: value for name, value in figures.items() if value is not None}
