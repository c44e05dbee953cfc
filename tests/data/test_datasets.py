"""The bundled data must be the published data, and no damaged file may pass for a good one."""

import gzip
import io
import math
import re
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from arraymlp.data.datasets import (
    MNIST,
    DatasetError,
    IDXError,
    PublishedEpoch,
    load_mnist,
    mnist,
    published_curves,
    read_idx,
)

TYPES = ("uint8", "int8", "int16", "int32", "float32", "float64")
CODES = dict(zip(TYPES, (0x08, 0x09, 0x0B, 0x0C, 0x0D, 0x0E), strict=True))
ARRAYS = hnp.arrays(
    st.sampled_from(TYPES), hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4)
)
# 2 x 3 int16: 4 bytes, 8 bytes of sizes, 12 bytes of data.
SMALL = np.array([[1, -2, 3], [256, -32768, 32767]], np.int16)


def header(code: int, *sizes: int) -> bytes:
    return struct.pack(f">HBB{len(sizes)}I", 0, code, len(sizes), *sizes)


def idx(array: npt.NDArray[Any]) -> bytes:
    big_endian = array.astype(array.dtype.newbyteorder(">"))
    return header(CODES[array.dtype.name], *array.shape) + big_endian.tobytes()


def read(content: bytes) -> npt.NDArray[Any]:
    return read_idx(io.BytesIO(content))


def zipped(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


@given(ARRAYS, st.sampled_from([bytes, zipped]))
def test_what_is_written_is_read(array: npt.NDArray[Any], wrap: Callable[[bytes], bytes]) -> None:
    result = read(wrap(idx(array)))
    assert type(result) is np.ndarray
    assert (result.shape, result.dtype) == (array.shape, array.dtype)
    assert result.dtype.isnative
    assert result.flags.carray  # C-contiguous, aligned and writable
    # Bytes, since NaN is not equal to itself and -0.0 is equal to 0.0.
    assert result.tobytes() == array.tobytes()


def test_the_bytes_of_the_format() -> None:
    """Against bytes written by hand, so that reader and writer cannot share a mistake."""
    content = bytes.fromhex("0000 0B02 00000002 00000003 0001 FFFE 0003 0100 8000 7FFF")
    np.testing.assert_array_equal(read(content), SMALL, strict=True)
    assert content == idx(SMALL)


def test_no_dimensions_is_one_number() -> None:
    result = read(bytes.fromhex("0000 0D00 3FC00000"))
    np.testing.assert_array_equal(result, np.array(1.5, np.float32), strict=True)


@pytest.mark.parametrize("as_path", [str, Path])
@pytest.mark.parametrize(("name", "wrap"), [("plain.gz", bytes), ("zipped", zipped)])
def test_paths_and_file_objects(
    tmp_path: Path, as_path: type, name: str, wrap: Callable[[bytes], bytes]
) -> None:
    """The names say the opposite of the contents: the content decides."""
    path = tmp_path / name
    path.write_bytes(wrap(idx(SMALL)))
    np.testing.assert_array_equal(read_idx(as_path(path)), SMALL, strict=True)
    for buffering in (0, -1):
        with path.open("rb", buffering=buffering) as file:
            np.testing.assert_array_equal(read_idx(file), SMALL, strict=True)
            assert not file.closed


def test_a_file_object_is_read_from_where_it_stands() -> None:
    file = io.BytesIO(b"before" + zipped(idx(SMALL)))
    file.seek(6)
    np.testing.assert_array_equal(read_idx(file), SMALL, strict=True)


def test_data_longer_than_one_read() -> None:
    array = np.random.default_rng(0).integers(-(2**31), 2**31, (3, 400_001), np.int32)
    for content in (idx(array), zipped(idx(array))):
        np.testing.assert_array_equal(read(content), array, strict=True)


FOREIGN = {
    "empty": (b"", "header is cut short: expected 4 bytes from byte 0, found 0"),
    "three bytes": (b"\0\0\x08", "header is cut short: expected 4 bytes from byte 0, found 3"),
    "a PNG": (b"\x89PNG\r\n", "bytes 0 to 1 are 89 50, expected 00 00"),
    "second byte": (b"\0\1" + idx(SMALL)[2:], "bytes 0 to 1 are 00 01, expected 00 00"),
    "zipped twice": (zipped(b"\x1f\x8b\0\0"), "bytes 0 to 1 are 1f 8b, expected 00 00"),
    "type 0A": (header(0x0A, 1) + b"\0", "byte 2 is 0a, expected one of 08 09 0b 0c 0d 0e"),
    "no sizes": (header(0x08, 1, 2)[:4], "expected 8 bytes of sizes from byte 4, found 0"),
    "half the sizes": (header(0x08, 1, 2)[:9], "expected 8 bytes of sizes from byte 4, found 5"),
    "no data": (
        header(0x0E, 3),
        r"cut short: expected 24 bytes from byte 8 for float64 of shape \(3,\), found 0",
    ),
    "short": (
        idx(SMALL)[:-1],
        r"cut short: expected 12 bytes from byte 12 for int16 of shape \(2, 3\), found 11",
    ),
    "long": (
        idx(SMALL) + b"\0\0",
        r"more bytes: expected 12 bytes from byte 12 for int16 of shape \(2, 3\), found 14",
    ),
    "data in an empty array": (
        header(0x08, 0) + b"\0",
        r"more bytes: expected 0 bytes from byte 8 for uint8 of shape \(0,\), found 1",
    ),
    "one size of 2**32-1": (
        header(0x08, 2**32 - 1) + b"\1",
        r"cut short: expected 4294967295 bytes from byte 8 .*, found 1",
    ),
    "three sizes of 2**32-1": (
        header(0x0E, *[2**32 - 1] * 3) + b"\1",
        "no array can have the 3 sizes in bytes 4 to 15",
    ),
    "a product that is 0 modulo 2**64": (
        header(0x08, 2**31, 2**31, 4),
        "no array can have the 3 sizes in bytes 4 to 15",
    ),
    "an empty array with sizes that overflow": (
        header(0x08, 0, 2**32 - 1, 2**32 - 1),
        "no array can have the 3 sizes in bytes 4 to 15",
    ),
    "255 dimensions": (
        header(0x08, *[1] * 255) + b"\1",
        "no array can have the 255 sizes in bytes 4 to 1023",
    ),
}


@pytest.mark.parametrize("wrap", [bytes, zipped])
@pytest.mark.parametrize(("content", "problem"), FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_file_is_refused(
    tmp_path: Path, content: bytes, problem: str, wrap: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "digits.idx"
    path.write_bytes(wrap(content))
    with pytest.raises(IDXError, match=problem) as caught:
        read_idx(path)
    assert str(caught.value).startswith(f"{path}: ")


@given(ARRAYS, st.data())
def test_every_cut_and_every_tail_is_refused(array: npt.NDArray[Any], data: st.DataObject) -> None:
    content = idx(array)
    end = data.draw(st.integers(0, len(content) - 1))
    tail = data.draw(st.binary(min_size=1))
    for damaged in (content[:end], content + tail):
        for wrap in (bytes, zipped):
            with pytest.raises(IDXError):
                read(wrap(damaged))


@given(st.binary(max_size=64), st.sampled_from([b"", b"\0\0", b"\0\0\x08\1", b"\x1f\x8b\x08\0"]))
def test_any_bytes_are_an_array_or_an_error(content: bytes, start: bytes) -> None:
    try:
        array = read(start + content)
    except IDXError:
        return
    assert idx(array) == start + content


def test_a_cut_gzip_file_is_refused() -> None:
    content = zipped(idx(SMALL))
    for end in range(len(content)):
        with pytest.raises(IDXError):
            read(content[:end])


def test_a_flipped_bit_in_a_gzip_file_is_never_wrong_data() -> None:
    """Some bits mean nothing (the time, the system it came from); the others must be noticed."""
    content, refused = zipped(idx(SMALL)), 0
    for bit in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            array = read(bytes(damaged))
        except IDXError:
            refused += 1
        else:
            np.testing.assert_array_equal(array, SMALL, strict=True)
    assert refused > 4 * len(content)


def test_gzip_damage_is_located(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, 100_000, np.uint8)
    path = tmp_path / "cut"
    path.write_bytes(zipped(idx(array))[:50_000])
    with pytest.raises(IDXError) as caught:
        read_idx(path)
    problem = "the gzip data is damaged after ([0-9]+) decompressed bytes: .*ended"
    located = re.fullmatch(f"{re.escape(str(path))}: {problem}.*", str(caught.value))
    assert located
    # Random bytes do not compress, so half the file is about half the data.
    assert 40_000 < int(located[1]) < 60_000


@pytest.mark.parametrize("wrap", [bytes, zipped])
@pytest.mark.parametrize(
    "sizes", [(2**32 - 1,), (2**32 - 1, 2**31 - 1), (2**32 - 1,) * 4, (0, 2**32 - 1, 2**32 - 1)]
)
def test_a_lying_header_costs_no_memory(
    sizes: tuple[int, ...], wrap: Callable[[bytes], bytes]
) -> None:
    content = wrap(header(0x08, *sizes) + bytes(1000))
    tracemalloc.start()
    try:
        with pytest.raises(IDXError):
            read(content)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


def test_a_tail_costs_no_memory() -> None:
    """64 MiB of zeros in a gzip file of 64 KiB, behind an array of 12 bytes."""
    content = zipped(idx(SMALL) + bytes(64 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(IDXError, match=f"found {12 + (64 << 20)}$"):
            read(content)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


def test_a_missing_file_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent"):
        read_idx(tmp_path / "absent")


@pytest.fixture(scope="module")
def digits() -> MNIST:
    return load_mnist()


@pytest.mark.parametrize(("images", "labels", "n"), [(0, 1, 60_000), (2, 3, 10_000)])
def test_mnist_has_the_published_shapes_types_and_range(
    digits: MNIST, images: int, labels: int, n: int
) -> None:
    x, y = digits[images], digits[labels]
    assert x.shape == (n, 784)
    assert x.dtype == np.dtype("float32")
    assert (x.min(), x.max()) == (0, 1)
    assert y.shape == (n,)
    assert y.dtype == np.dtype("int64")
    assert set(y.tolist()) == set(range(10))
    assert x.flags.carray
    assert y.flags.carray


def test_mnist_is_in_file_order(digits: MNIST) -> None:
    assert digits.y_train[:5].tolist() == [5, 0, 4, 1, 9]
    assert digits.y_test[:5].tolist() == [7, 2, 1, 0, 4]


def test_images_are_upright(digits: MNIST) -> None:
    """The first test image is a 7: its bar, on top, is wider than its foot."""
    rows = (digits.X_test[0].reshape(28, 28) > 0.5).sum(axis=1)
    inked = rows[rows > 0]
    assert inked[:4].max() > 2 * inked[-4:].max()


def test_pixels_are_divided_by_255_as_in_the_lab(digits: MNIST) -> None:
    raw = read_idx(Path(str(mnist.DATA)) / "t10k-images-idx3-ubyte.gz")
    for loaded, dtype in ((digits, "float32"), (load_mnist(dtype="float64"), "float64")):
        expected = raw.reshape(10_000, 784).astype(dtype) / 255
        np.testing.assert_array_equal(loaded.X_test, expected, strict=True)


def test_loading_holds_no_second_array_of_floats() -> None:
    tracemalloc.start()
    try:
        load_mnist()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 300e6


@pytest.mark.parametrize("dtype", ["float16", "int64", "", "single"])
def test_another_dtype_is_refused(dtype: str) -> None:
    with pytest.raises(ValueError, match=f'\'{dtype}\', expected "float32" or "float64"'):
        load_mnist(dtype=dtype)


@pytest.mark.parametrize("name", list(mnist.SHA256))
def test_another_file_than_the_published_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(mnist.SHA256, name, "0" * 64)
    with pytest.raises(DatasetError, match=f"{name}.gz: not the published .*expected 0{{64}}$"):
        load_mnist()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot read the bundled file: .*No such file"),
        (b"not gzip", "cannot read the bundled file: Not a gzipped file"),
        (zipped(idx(SMALL))[:-9], "cannot read the bundled file: .*ended"),
        (zipped(idx(SMALL))[:10] + b"\xff" * 30, "cannot read the bundled file: .*invalid"),
        (zipped(idx(SMALL)), "not the published train-images-idx3-ubyte"),
    ],
    ids=["absent", "foreign", "cut", "damaged", "changed"],
)
def test_a_damaged_installation_is_reported(
    content: bytes | None, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "train-images-idx3-ubyte.gz"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setattr(mnist, "DATA", tmp_path)
    with pytest.raises(DatasetError, match=problem) as caught:
        load_mnist()
    assert str(caught.value).startswith(f"{path}: ")


def test_the_license_states_the_digests_that_are_checked() -> None:
    text = (mnist.DATA / "LICENSE-MNIST.md").read_text(encoding="utf-8")
    for name, digest in mnist.SHA256.items():
        assert f"| `{name}.gz` | `{digest}` |" in text


def test_the_curves_are_three_runs_of_70_epochs_less_one() -> None:
    curves = published_curves()
    epochs = {run: [record.epoch for record in records] for run, records in curves.items()}
    assert epochs == {
        "sigmoid-0.05": [*range(39), *range(40, 70)],
        "relu-0.05": list(range(70)),
        "relu-0.005": list(range(70)),
    }
    assert curves["sigmoid-0.05"][0] == PublishedEpoch(0, 0.73552, 0.72)


def test_the_curves_end_at_the_published_accuracies() -> None:
    accuracies = {run: 1 - records[-1].test_error for run, records in published_curves().items()}
    published = {"sigmoid-0.05": 0.9748, "relu-0.05": 0.0958, "relu-0.005": 0.9797}
    assert accuracies == pytest.approx(published)


@pytest.mark.parametrize(("run", "digit"), [("relu-0.05", 6), ("relu-0.005", 7)])
def test_the_curves_belong_to_these_labels(digits: MNIST, run: str, digit: int) -> None:
    """A network that answers one class errs on all the others: what both ReLU runs start with."""
    for record in published_curves()[run][:24]:
        assert math.isclose(record.training_error, (digits.y_train != digit).mean(), abs_tol=5e-6)
        assert math.isclose(record.test_error, (digits.y_test != digit).mean(), abs_tol=5e-6)


def test_what_is_no_file_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"read_idx takes a path or a binary file object, not \[1\]"
    ):
        read_idx([1])
