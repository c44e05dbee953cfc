"""ONNX files of this package are read back to the same bits; any other is refused in a sentence."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")

import onnx

import arraymlp
from arraymlp import ModelFileError, MultilayerPerceptron, load, save
from arraymlp.losses import Quantile
from arraymlp.nn.losses import LOSSES
from arraymlp.nn.scaling import Scaling
from arraymlp.training.onnx_file import read_onnx
from arraymlp.training.schema import FormatVersionError
from arraymlp.training.tensor_file import read_parts

SCALING = Scaling(np.array([0.1, 1e9]), np.array([3.0, 1e-9]))
create = MultilayerPerceptron.create
NETWORKS: dict[str, Any] = {
    **{name: create((2, 5, 3), loss=name) for name in LOSSES},
    "population": create((2, 5, 4, 2), seed=range(3), activation="gelu", inputs=SCALING),
    "float64": create((2, 1), loss="poisson", dtype="float64", features=("a", "ü")),
    "binary": create((2, 1), loss="binary_cross_entropy", classes=np.array([-1, 2**62])),
    "quantiles": create(
        (2, 3, 4), loss=Quantile(((0.1, 0.9), (0.2, 0.8))), seed=[1, 2], outputs=SCALING
    ),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.onnx"


@pytest.mark.parametrize("name", NETWORKS)
def test_a_graph_has_all_that_a_model_file_has(name: str, file: Path, tmp_path: Path) -> None:
    network, saved = NETWORKS[name], tmp_path / "model.safetensors"
    arraymlp.to_onnx(network, file)
    save(network, saved)
    header, tensors = read_onnx(file)
    expected_header, expected = read_parts(saved)
    assert header == expected_header
    assert tensors.keys() == expected.keys()
    for key, tensor in expected.items():
        assert (tensors[key].dtype, tensors[key].shape) == (tensor.dtype, tensor.shape)
        assert tensors[key].tobytes() == tensor.tobytes()
    loaded = load(file)
    rows = np.ones((3, 2), network.dtype)
    assert loaded.logits(rows).tobytes() == load(saved).logits(rows).tobytes()
    assert (loaded.features, loaded.loss) == (network.features, network.loss)
    assert loaded.layers[0].weights.flags.writeable


def test_it_opens_on_any_backend(quick_backend: Any, file: Path) -> None:
    network = NETWORKS["softmax_cross_entropy"]
    arraymlp.to_onnx(network.to(quick_backend), file)
    loaded = load(file, backend=quick_backend)
    assert loaded.backend == quick_backend
    assert loaded.to("numpy").logits(np.ones((2, 2))).tolist() == (
        network.logits(np.ones((2, 2))).tolist()
    )


def test_a_file_is_known_by_its_first_bytes_and_then_its_name(tmp_path: Path) -> None:
    network = NETWORKS["softmax_cross_entropy"]
    arraymlp.to_onnx(network, tmp_path / "model")
    save(network, tmp_path / "saved.ONNX")
    (tmp_path / "empty.onnx").write_bytes(b"")
    assert load(tmp_path / "model").sizes == load(tmp_path / "saved.ONNX").sizes == (2, 5, 3)
    with pytest.raises(ModelFileError, match=r"empty\.onnx: an ONNX file, but without the header"):
        load(tmp_path / "empty.onnx")


def test_what_onnx_writes_anew_is_the_same_file(file: Path) -> None:
    arraymlp.to_onnx(NETWORKS["population"], file)
    before = load(file)
    model = onnx.load(file)
    model.doc_string = "of ours"
    model.graph.name = "another"
    onnx.save(model, file)
    assert load(file).logits(np.ones((1, 2))).tolist() == before.logits(np.ones((1, 2))).tolist()


def test_the_package_onnx_is_not_needed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    arraymlp.to_onnx(NETWORKS["population"], file)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert load(file).members == 3


def test_a_foreign_graph_is_refused(file: Path) -> None:
    value = onnx.helper.make_tensor_value_info("X", onnx.TensorProto.FLOAT, [1])
    identity = onnx.helper.make_node("Identity", ["X"], ["Y"])
    same = onnx.helper.make_tensor_value_info("Y", onnx.TensorProto.FLOAT, [1])
    onnx.save(
        onnx.helper.make_model(onnx.helper.make_graph([identity], "g", [value], [same])), file
    )
    with pytest.raises(ModelFileError, match="without the header of a network: only those"):
        load(file)


def test_an_ensemble_of_unlike_networks_is_no_network(file: Path) -> None:
    ensemble = arraymlp.Ensemble([create((2, 3, 2)), create((2, 4, 2))])
    arraymlp.to_onnx(ensemble, file)
    with pytest.raises(ModelFileError, match="it holds an ensemble of networks that are not alike"):
        load(file)
    arraymlp.to_onnx(arraymlp.Ensemble([create((2, 3, 2), seed=i) for i in range(2)]), file)
    assert load(file).members == 2


def _without_bytes(model: Any) -> None:
    model.graph.initializer[0].ClearField("raw_data")


def _outside(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def _halved(model: Any) -> None:
    tensor = model.graph.initializer[0]
    half = onnx.numpy_helper.to_array(tensor).astype("float16")
    tensor.CopyFrom(onnx.numpy_helper.from_array(half, tensor.name))


def _reshaped(model: Any) -> None:
    model.graph.initializer[0].dims[0] += 1


def _with_empty_axis(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros((0, 5), "float32"), tensor.name))


def _twice(model: Any) -> None:
    model.graph.initializer.append(model.graph.initializer[0])


def _absent(model: Any) -> None:
    del model.graph.initializer[0]


def _more(model: Any) -> None:
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(2), "layers.9.bias"))


def _changed(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.raw_data = tensor.raw_data[:-1] + b"\0"


def _two_headers(model: Any) -> None:
    model.metadata_props.append(model.metadata_props[0])


def _newer(model: Any) -> None:
    text = model.metadata_props[0].value
    model.metadata_props[0].value = text.replace('"format": 2', '"format": 3')


def _no_json(model: Any) -> None:
    model.metadata_props[0].value = "{"


def _of_two_graphs(model: Any) -> None:
    model.ClearField("graph")


DAMAGES = {
    "not stored as arraymlp.to_onnx stores it": [_outside, _halved],
    r"has 40 bytes, but the shape \[3, 5\]": [_reshaped],
    r"has 0 bytes, but the shape \[0, 5\]": [_with_empty_axis],
    "'layers.0.weights' stands twice": [_twice],
    "field 9 stands 0 times": [_without_bytes],
    "field 7 stands 0 times": [_of_two_graphs],
    "its content is not that of the SHA-256": [_absent, _more, _changed],
    "two headers": [_two_headers],
    "format 3, but this version reads formats 1 and 2": [_newer],
    "its arraymlp header is no JSON": [_no_json],
}


@pytest.mark.parametrize(
    ("damage", "words"),
    [(damage, words) for words, damages in DAMAGES.items() for damage in damages],
)
def test_a_damaged_file_is_refused(damage: Any, words: str, file: Path) -> None:
    model = arraymlp.to_onnx(NETWORKS["softmax_cross_entropy"], file)
    damage(model)
    file.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match=words) as caught:
        load(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert isinstance(caught.value, FormatVersionError) == (damage is _newer)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x08", "it ends within a number"),
        (b"\x08" + b"\xff" * 12, "it ends within a number"),
        (b"\x3a\x05ab", "it ends within a field"),
        (b"\x3d\x05", "it ends within a field"),
        (b"\x3b", "there is no form 3"),
        (b"\x70\x01", "a number stands where bytes must stand"),
        (b"\x72\x04\x0a\x02\xff\xff", "not UTF-8"),
        (b"\x72\x0c\x0a\x08arraymlp\x12\x00", "no JSON"),
    ],
)
def test_what_is_no_protocol_buffer_is_refused(content: bytes, words: str, file: Path) -> None:
    file.write_bytes(content)
    with pytest.raises(ModelFileError, match=words):
        load(file)


def test_every_shorter_file_is_refused(file: Path) -> None:
    arraymlp.to_onnx(NETWORKS["binary"], file)
    content = file.read_bytes()
    for length in range(0, len(content), 5):
        file.write_bytes(content[:length])
        with pytest.raises(ModelFileError):
            load(file)


def test_packed_shapes_are_read(file: Path) -> None:
    # As newer forms of protocol buffers write them: [2, 5] in one field.
    arraymlp.to_onnx(NETWORKS["softmax_cross_entropy"], file)
    content = file.read_bytes()
    assert content.count(b"\x08\x02\x08\x05") == 1
    file.write_bytes(content.replace(b"\x08\x02\x08\x05", b"\x0a\x02\x02\x05"))
    assert load(file).sizes == (2, 5, 3)


@pytest.mark.skipif(not hasattr(os, "truncate"), reason="no sparse files")
def test_a_file_that_is_too_large_is_not_read(file: Path) -> None:
    file.write_bytes(b"\x08\x08")
    os.truncate(file, 2**31)
    with pytest.raises(ModelFileError, match="ONNX's files at most 2 GiB"):
        load(file)


def test_estimators_and_sweeps_have_files_of_their_own(file: Path) -> None:
    pytest.importorskip("sklearn")
    arraymlp.to_onnx(NETWORKS["softmax_cross_entropy"], file)
    with pytest.raises(ModelFileError, match="it holds a network alone, not an MLPClassifier"):
        arraymlp.MLPClassifier.load(file)
    with pytest.raises(ModelFileError, match="not a readable safetensors file"):
        arraymlp.SweepResult.load(file)
