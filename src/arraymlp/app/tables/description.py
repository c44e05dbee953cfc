"""What a model file is, in JSON's types and in text: ``arraymlp show``."""

from typing import Any

from arraymlp.app.tables.inputs import listed
from arraymlp.app.tables.models import Model
from arraymlp.data.encoding.columns import Categories, EncodedColumn, Numbers
from arraymlp.training.history import finite
from arraymlp.training.scores.text import figure

SHOWN = 8  # categories or classes that a line lists
MAPS = {
    "mixed": "standardised, and {bins}",
    "piecewise": "{bins}",
    "standardize": "standardised",
    "smooth_clip": "scaled, clipped smoothly",
    "quantile": "to a normal distribution",
}


def described(model: Model) -> dict[str, Any]:
    """What the file holds, in JSON's types: sizes, classes, columns, how it was trained."""
    network = model.network
    content: dict[str, Any] = {
        "file": str(model.path),
        "bytes": model.path.stat().st_size,
        "kind": model.kind,
        "members": network.members,
        "sizes": list(network.sizes),
        "activations": [layer.activation.name for layer in network.layers[:-1]],
        "loss": network.loss.name,
        "loss_parameters": network.loss.parameters,
        "dtype": network.dtype,
        "parameters": network.n_parameters,
        "targets": None if network.targets is None else list(network.targets),
        "classes": None if model.labels is None else model.labels.tolist(),
        "features": None if model.features is None else list(model.features),
        "columns": [_column(column) for column in model.columns],
        "standardized": {
            "features": network.inputs is not None,
            "targets": network.outputs is not None,
        },
    }
    if model.run is not None:
        content["training"] = {
            "ended": model.run.ended,
            "settings": model.run.settings.to_dict(),
            "history": model.run.history.to_dict(),
        }
    if model.estimator is not None:
        content["estimator"] = {name: model.estimator.get(name) for name in ("kind", "parameters")}
    if model.sweep is not None:
        best = model.sweep.best
        content["sweep"] = {
            "networks": len(model.sweep),
            "swept": model.sweep.swept,
            "score": model.sweep.score,
            "best": best.row(),
            "settings": best.settings,
        }
    whole: dict[str, Any] = finite(content)
    return whole


def _column(column: EncodedColumn) -> dict[str, Any]:
    """A column, and how it becomes features, without the numbers that were learnt."""
    about: dict[str, Any] = {"name": column.name, "kind": column.kind, "features": column.width}
    if isinstance(column, Numbers):
        about |= {"map": column.map.kind, "missing": column.fill, "indicator": column.indicator}
    if isinstance(column, Categories):
        about |= {
            "categories": list(column.values),
            "missing": column.missing,
            "other": column.other,
        }
    return about


def text(model: Model) -> str:
    """The same, for people."""
    network, about = model.network, described(model)
    kind = {"estimator": f"the estimator {(model.estimator or {}).get('kind')}"}.get(
        model.kind, f"a {model.kind}"
    )
    members = "one network" if network.members is None else f"{network.members} networks, averaged"
    lines = [
        ["file", f"{model.path}, {kind}, {_size(about['bytes'])}"],
        ["predicts", _predicts(model)],
        ["from", _from(model)],
        ["layers", "-".join(map(str, network.sizes)) + f", {network.dtype}"],
        ["activations", ", ".join(dict.fromkeys(about["activations"])) or "none: it is linear"],
        ["loss", repr(network.loss) if network.loss.parameters else network.loss.name],
        ["members", members],
        ["parameters", f"{network.n_parameters:,}" + " each" * (network.members is not None)],
    ]
    parts = [_pairs(lines)]
    if model.note:
        parts.insert(0, model.note)
    if about["columns"]:
        rows = [[c["name"], c["kind"], _encoded(c)] for c in about["columns"]]
        parts.append("columns\n" + _left(rows))
    if model.run is not None:
        parts.append(_trained(model))
    return "\n\n".join(parts)


def _predicts(model: Model) -> str:
    names = listed(model.targets)
    if model.labels is not None:
        return f"{names}: one of {len(model.labels)} classes, {_few(model.labels.tolist())}"
    if model.network.loss.classifies == "each":
        return f"{len(model.targets)} labels, each yes or no: {names}"
    return f"{names}: " + ("quantiles" if model.network.loss.outputs_per_target > 1 else "numbers")


def _from(model: Model) -> str:
    if model.features is None:
        return f"{model.network.sizes[0]} columns of numbers, without names"
    kinds = "columns of a table" if model.encoded else "columns of numbers"
    return f"{len(model.features)} {kinds}: {listed(model.features)}"


def _encoded(column: dict[str, Any]) -> str:
    """How a column becomes features, in words."""
    if column["kind"] == "categories":
        rest = [name for name in ("missing", "other") if column[name]]
        also = f"; and {' and '.join(rest)}" if rest else ""
        return f"{len(column['categories'])}: {_few(column['categories'])}{also}"
    n = column["features"] - column["indicator"] - (column["map"] == "mixed")
    how = MAPS.get(column["map"], column["map"]).format(bins=f"{n} bin" + "s" * (n != 1))
    indicator = ", with a feature that says so" if column["indicator"] else ""
    return f"{how}; a missing one is {column['missing']:.6g}{indicator}"


def _trained(model: Model) -> str:
    run = model.run
    assert run is not None
    last = run.history[-1] if len(run.history) else {}
    figures = [
        f"{name.replace('_', ' ')} {_mean(value)}"
        for name, value in last.items()
        if name.startswith(("loss", "validation"))
    ]
    settings = run.settings
    rows = [
        ["trained", f"{len(run.history)} epochs, {run.ended}"],
        ["last epoch", ", ".join(figures) or "-"],
        ["optimizer", repr(settings.optimizer)],
        ["learning rate", str(settings.learning_rate)],
        ["batch size", str(settings.batch_size)],
    ]
    return _pairs(rows)


def _mean(value: Any) -> str:
    numbers = value if isinstance(value, list) else [value]
    return figure(sum(numbers) / len(numbers)) + " (mean)" * (len(numbers) > 1)


def _few(values: list[Any]) -> str:
    shown = ", ".join(map(str, values[:SHOWN]))
    return shown + f", and {len(values) - SHOWN} more" * (len(values) > SHOWN)


def _pairs(rows: list[list[str]]) -> str:
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {value}" for name, value in rows)


def _left(rows: list[list[str]]) -> str:
    """Rows of cells, each column to the left, indented."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return "\n".join(
        "  " + "  ".join(f"{cell:{w}}" for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _size(n: int) -> str:
    return f"{n / 1e6:.1f} MB" if n >= 1e5 else f"{n / 1e3:.1f} kB"
