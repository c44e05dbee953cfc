"""Findings about the scale of features and targets: named where it is far off, silent elsewhere."""

import numpy as np
import pytest

from arraymlp import NonFiniteLossError, Run, diagnose, sweep, train
from arraymlp.app.sweeps.summary import lines
from arraymlp.data.magnitudes import feature_magnitudes
from arraymlp.data.standardize import moments
from conftest import on_host

BEFORE = ("auto", "sgd", "momentum", "adam")


def table(n=300, seed=0):
    """Rows of a table with columns of 0.001 to 500, each as telling as the others, and classes."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 6))
    scale = np.array([500.0, 0.001, 80, 2, 0.05, 10])
    return 1.5 * scale + z * scale, (z.sum(axis=1) + 0.3 * rng.normal(size=n) > 0).astype(int)


def numbers(n=300, unit=1e5, seed=0):
    """Standardised features, and targets around one unit."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 5))
    return X, unit * (1 + 0.3 * np.tanh(X @ rng.normal(size=5)) + 0.01 * rng.normal(size=n))


def trained(*data, **given) -> Run:
    """A run, where it failed, too."""
    try:
        return train(*data, **{"backend": "numpy", "hidden": (16,), "epochs": 10, **given})
    except NonFiniteLossError as error:
        return error.run


def kinds(run, member=None):
    return [f.kind for f in diagnose(run) if f.member == member]


def scale_kinds(run, member=None):
    return [kind for kind in kinds(run, member) if kind.endswith("_scale")]


# --- features ---


@pytest.mark.parametrize("probes", [False, True])
@pytest.mark.parametrize("optimizer", BEFORE)
def test_features_of_a_raw_table_come_first_and_standardised_ones_are_not_named(optimizer, probes):
    X, y = table()
    given = {"optimizer": optimizer, "probes": probes, "validation": 0.2}
    assert kinds(trained(X, y, **given))[0] == "features_scale"
    assert scale_kinds(trained(X, y, standardize=True, **given)) == []
    assert scale_kinds(trained((X - X.mean(axis=0)) / X.std(axis=0), y, **given)) == []


def test_the_sentence_has_the_columns_figures_as_the_network_is_given_them(
    quick_backend,
):
    X, y = table()
    run = trained(X, y, backend=quick_backend, epochs=2)
    finding = run.findings[0]
    assert finding.figures["mean"] == pytest.approx(X[:, 0].mean(), rel=1e-4)
    assert finding.figures["deviation"] == pytest.approx(X[:, 0].std(), rel=1e-4)
    assert finding.figures["deviation_least"] == pytest.approx(X[:, 1].std(), rel=1e-4)
    said = f"X[:, 0] has mean {X[:, 0].mean():.3g} and standard deviation {X[:, 0].std():.3g}"
    assert said in finding.sentence
    assert f"(X[:, 1]) to {X[:, 0].std():.3g} (X[:, 0])" in finding.sentence
    assert "standardize=True" in finding.sentence


def test_features_are_named_where_they_have_names():
    X, y = table()
    run = trained(X, y, epochs=2)
    run.network.features = ("area", *"bcdef")
    assert "X[:, 0] ('area') has mean" in diagnose(run)[0].sentence


def pixels(n=300, most=1.0, seed=0):
    """As MNIST's: most are 0, the border always, some near it once."""
    rng = np.random.default_rng(seed)
    X = np.where(rng.random((n, 50)) < 0.2, rng.random((n, 50)), 0.0) * most
    X[:, :10] = 0
    X[0, 0] = most / 255
    return X


def one_hot(n=300, width=200, seed=0):
    return np.eye(width)[np.random.default_rng(seed).integers(0, width, n)]


OFFSET = np.random.default_rng(0).normal(size=(300, 5))


@pytest.mark.parametrize(
    ("X", "expected"),
    [
        (pixels(), False),
        (pixels(most=16), False),
        (pixels(most=255), True),
        (one_hot(), False),
        (np.c_[one_hot(), OFFSET], False),
        (np.ones((300, 3)), False),  # nothing to standardise
        (OFFSET + 5, False),
        (OFFSET + 100, True),
        (OFFSET / 10, False),
        (OFFSET / 1000, True),
        (1 + OFFSET / 1000, True),
        (np.c_[OFFSET, np.full(300, 1e4)], True),  # a constant of such size is an offset
    ],
)
def test_what_layers_expect_is_not_named_however_badly_the_run_did(X, expected):
    y = np.random.default_rng(1).integers(0, 3, len(X))  # nothing to learn
    assert scale_kinds(trained(X, y, epochs=1)) == ["features_scale"] * expected


def test_a_run_that_did_well_is_told_nothing_about_scale():
    X, y = 12 * OFFSET, OFFSET[:, 0] + OFFSET[:, 1]
    well, poorly = (trained(X, y, hidden=(), epochs=n) for n in (40, 1))
    assert well.history[-1]["loss"] < 0.01 * y.var()
    assert scale_kinds(well) == []
    assert poorly.history[-1]["loss"] > y.var()
    assert scale_kinds(poorly) == ["features_scale"]


def test_digits_lost_to_an_offset_are_said():
    y = np.random.default_rng(1).integers(0, 2, 300)
    lost = trained(OFFSET + 1e5, y, epochs=1).findings[0]
    assert lost.figures["rounded"] == pytest.approx(1e5 * 2**-23, rel=0.2)
    assert "float32 rounds its values to steps of" in lost.sentence
    kept = trained(OFFSET + 1e5, y, epochs=1, dtype="float64").findings[0]
    assert kept.kind == "features_scale"
    assert "rounds" not in kept.sentence
    assert "rounds" not in trained(OFFSET + 100, y, epochs=1).findings[0].sentence


def test_new_rows_for_a_network_that_standardises_are_not_told_to_be_standardised():
    X, y = table()
    run = trained(X, y, standardize=True, epochs=1)
    finding = trained(X * 100, y, network=run, hidden=None, epochs=1).findings[0]
    assert finding.kind == "features_scale"
    assert "standardize=True" not in finding.sentence
    assert "first trained on" in finding.sentence


def test_of_many_rows_some_are_measured_evenly_spread(numpy_backend):
    X = np.arange(50_000.0)[:, None]
    mean, deviation = moments(X, numpy_backend)
    some = feature_magnitudes(X, numpy_backend)
    assert some.mean == pytest.approx(mean, rel=1e-3)
    assert some.deviation == pytest.approx(deviation, rel=1e-3)


def test_streams_are_measured_as_arrays_are(tmp_path):
    X, y = table()
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    chunks = [(X[i : i + 50], y[i : i + 50]) for i in range(0, len(X), 50)]
    whole = trained(X, y, epochs=1).findings[0]
    for data in ((mapped, y), (chunks,)):
        finding = trained(*data, epochs=1).findings[0]
        assert finding.figures == pytest.approx(whole.figures)
        assert scale_kinds(trained(*data, epochs=1, standardize=True)) == []


def test_sparse_rows_are_measured_too():
    sparse = pytest.importorskip("scipy.sparse")
    y = np.random.default_rng(1).integers(0, 2, 300)
    assert scale_kinds(trained(sparse.csr_array(pixels()), y, epochs=1)) == []
    run = trained(sparse.csr_array(pixels(most=255)), y, epochs=1)
    assert scale_kinds(run) == ["features_scale"]


# --- members ---


def test_each_member_of_a_population_is_told():
    X, y = table()
    run = trained(X, y, seed=[0, 1], epochs=2)
    assert [kinds(run, k)[0] for k in range(2)] == ["features_scale"] * 2


def test_networks_of_a_sweep_are_measured_as_they_are_standardised():
    X, y = table()
    result = sweep(X, y, standardize=[False, True], cv=3, hidden=(8,), epochs=3, backend="numpy")
    first = {k: [f.kind for f in result.findings(k)] for k in range(len(result))}
    for m in result.members:
        assert ("features_scale" in first[m.number]) is (not m.swept["standardize"])


def test_a_sweep_names_scale_before_it_advises_another_rate():
    X, y = table()
    given = {"hidden": (8,), "epochs": 3, "backend": "numpy", "optimizer": "adam", "cv": 2}
    raw = sweep(X, y, learning_rate=[1e-4, 1e-3], **given)
    text = "\n".join(lines(raw))
    assert "first of all: The features are far from what layers expect" in text
    assert "try smaller ones" not in text
    assert "try larger ones" not in text
    scaled = sweep(X, y, learning_rate=[1e-4, 1e-3], standardize=True, **given)
    assert "The features are far" not in "\n".join(lines(scaled))


def test_failures_are_explained_by_scale():
    X, y = table()
    result = sweep(X, y, seed=[0, 1], hidden=(8,), optimizer="sgd", epochs=5, backend="numpy")
    failed = result.failures()
    assert failed
    assert {row["kind"] for row in failed} == {"features_scale"}


# --- targets ---


@pytest.mark.parametrize("optimizer", BEFORE)
def test_targets_of_100_000_come_first_and_standardised_ones_are_not_named(optimizer):
    X, y = numbers()
    given = {"optimizer": optimizer, "validation": 0.2}
    finding = trained(X, y, standardize=False, **given).findings[0]
    assert finding.kind == "targets_scale"
    assert finding.figures["mean"] == pytest.approx(y.mean(), rel=0.05)  # of four fifths of them
    assert f"y has mean {finding.figures['mean']:.3g} and standard dev" in finding.sentence
    assert 'standardize="targets"' in finding.sentence
    assert scale_kinds(trained(X, y, **given)) == []


def test_targets_are_measured_on_every_backend(backend):
    X, y = numbers()
    run = trained(X, y, backend=backend, standardize=False, epochs=1)
    assert run.findings[0].figures["mean"] == pytest.approx(y.mean(), rel=1e-2)
    assert scale_kinds(trained(X, y, backend=backend, epochs=1)) == []


@pytest.mark.parametrize(
    ("unit", "expected"), [(0.001, True), (0.5, False), (3.0, False), (100.0, True)]
)
def test_targets_around_one_are_not_named(unit, expected):
    X, y = numbers(unit=unit)
    run = trained(X, np.random.default_rng(0).permutation(y), standardize=False, epochs=1)
    assert scale_kinds(run) == ["targets_scale"] * expected


def test_counts_are_named_only_where_they_are_large_and_cannot_be_standardised():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 5))
    given = {"loss": "poisson", "epochs": 1}
    assert scale_kinds(trained(X, rng.poisson(20, 300).astype(float), **given)) == []
    assert scale_kinds(trained(X, rng.poisson(0.01, 300) + 0.0, **given)) == []
    finding = trained(X, rng.poisson(1e5, 300).astype(float), **given).findings[0]
    assert finding.kind == "targets_scale"
    assert "poisson takes them as they are: divide y" in finding.sentence
    assert "standardize" not in finding.sentence


def test_features_come_before_targets_where_both_are_far():
    X, y = numbers()
    assert kinds(trained(X * 1000, y, standardize=False))[:2] == ["features_scale", "targets_scale"]


def test_columns_of_targets_that_differ_in_scale_are_named_at_the_end(quick_backend):
    backend = quick_backend
    X, y = numbers()
    Y = np.stack([y, X[:, 0], 5e4 * X[:, 1]], axis=1)
    run = trained(X, Y, backend=backend, epochs=1)
    finding = diagnose(run)[-1]
    assert finding.kind == "targets_scale"
    assert finding.figures["deviation_most"] == pytest.approx(Y[:, 2].std(), rel=1e-3)
    assert finding.figures["deviation_least"] == pytest.approx(Y[:, 1].std(), rel=1e-3)
    assert "y[:, 2] has standard deviation" in finding.sentence
    assert "standardize=True" in finding.sentence
    assert scale_kinds(trained(X, Y, backend=backend, epochs=1, standardize=True)) == []
    assert scale_kinds(trained(X, Y[:, ::2], backend=backend, epochs=1)) == []


# --- a loss that is not finite ---


def message_of(*data, **given):
    with pytest.raises(NonFiniteLossError) as caught:
        train(*data, **{"backend": "numpy", "epochs": 20, "learning_rate": 1e3, **given})
    return str(caught.value)


def test_a_loss_that_is_not_finite_names_the_scale_first():
    X, y = numbers()
    message = message_of(X, y, optimizer="sgd", standardize=False, learning_rate=0.05)
    assert f"y has mean {y.mean():.3g} and standard deviation" in message
    assert 'standardize="targets" scales it' in message
    assert "before you try a smaller learning_rate than 0.05" in message
    message = message_of(1000 * X, y, optimizer="sgd", learning_rate=1e3)
    assert "(standardize=True, or a StandardScaler, scales it)" in message
    assert "y has" not in message


def test_a_loss_that_is_not_finite_on_scaled_data_names_the_rate():
    X, y = numbers()
    message = message_of(X, y, optimizer="sgd", dropout=0.1)
    assert message.endswith("A smaller learning_rate than 1000.0, and less dropout usually helps.")


# --- tables of scikit-learn's, and its own network ---


def held_out(data, seed=0):
    """Rows to train on and rows to test on: three of four."""
    order = np.random.default_rng(seed).permutation(len(data.target))
    cut = len(order) * 3 // 4
    rows, rest = order[:cut], order[cut:]
    return data.data[rows], data.target[rows], data.data[rest], data.target[rest]


def score_of(run: Run, X, y):
    """The accuracy, or R2 for numbers."""
    predicted = on_host(run.network.predict(X))
    if y.dtype.kind == "i":
        return float(np.mean(predicted == y))
    return float(1 - np.sum((predicted - y) ** 2) / np.sum((y - y.mean()) ** 2))


@pytest.mark.parametrize("optimizer", BEFORE)
@pytest.mark.parametrize("name", ["breast_cancer", "wine"])
def test_raw_tables_of_scikit_learn_are_named(name, optimizer):
    datasets = pytest.importorskip("sklearn.datasets")
    data = getattr(datasets, f"load_{name}")()
    run = trained(data.data, data.target, optimizer=optimizer, hidden=None, validation=0.2)
    assert kinds(run)[0] == "features_scale"


@pytest.mark.parametrize("name", ["iris", "digits", "diabetes"])
def test_tables_of_scikit_learn_that_need_no_scaling_are_not_named(name):
    datasets = pytest.importorskip("sklearn.datasets")
    data = getattr(datasets, f"load_{name}")()
    assert scale_kinds(trained(data.data, data.target, hidden=None, validation=0.2)) == []


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")  # of scikit-learn's 200 iterations
@pytest.mark.parametrize("name", ["breast_cancer", "wine", "numbers"])
def test_standardised_tables_train_as_scikit_learns_pipeline_does(name):
    datasets = pytest.importorskip("sklearn.datasets")
    compose = pytest.importorskip("sklearn.compose")
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    seeds = range(3)
    if name == "numbers":
        X, y = numbers(1200)
        X = X * [1000, 0.01, 1, 30, 5]
        X, y, X_test, y_test = X[:800], y[:800], X[800:], y[800:]
    else:
        X, y, X_test, y_test = held_out(getattr(datasets, f"load_{name}")())
    runs = [train(X, y, standardize=True, seed=s, backend="numpy") for s in seeds]
    ours = [score_of(run, X_test, y_test) for run in runs]

    def theirs(seed):
        if name != "numbers":
            return make_pipeline(StandardScaler(), MLPClassifier(random_state=seed))
        network = make_pipeline(StandardScaler(), MLPRegressor(random_state=seed))
        return compose.TransformedTargetRegressor(network, transformer=StandardScaler())

    reference = [theirs(s).fit(X, y).score(X_test, y_test) for s in seeds]
    assert np.mean(ours) >= np.mean(reference) - 0.01
