"""Zarr arrays and folders of Parquet files in a bucket, served on this machine as S3 does it."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import arraymlp
from arraymlp.data.elsewhere.given import opened
from arraymlp.data.stream import stream
from elsewhere import rows_elsewhere, rows_of, same_training
from engines_required import require_engine
from tables_elsewhere import N, quiet, table

require_engine("s3")
import s3fs  # noqa: E402
import zarr  # noqa: E402
from moto.server import ThreadedMotoServer  # noqa: E402

X = np.random.default_rng(7).normal(size=(200, 5)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64)
HOW: dict[str, Any] = {"epochs": 1, "batch_size": 10, "window": 50, "backend": "numpy"}


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    moto = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    moto.start()
    yield moto
    moto.stop()


@pytest.fixture
def endpoint(server: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": url,
    }.items():
        monkeypatch.setenv(name, value)
    return url


@pytest.fixture
def bucket(endpoint: str) -> Iterator[str]:
    fs = s3fs.S3FileSystem(endpoint_url=endpoint)
    name = f"bucket-{time.monotonic_ns()}"
    fs.mkdir(name)
    yield name
    fs.rm(name, recursive=True)


def array(bucket: str, endpoint: str, **options: Any) -> Any:
    options = {"endpoint_url": endpoint, **options}
    url = f"s3://{bucket}/data.zarr"
    group = zarr.open_group(url, mode="w", storage_options=options)
    for name, values, chunks in (("X", X, (30, 2)), ("y", Y, (70,))):
        stored = group.create_array(name, shape=values.shape, chunks=chunks, dtype=values.dtype)
        stored[...] = values
    return zarr.open(url, mode="r", storage_options=options)


def test_zarr_arrays_are_trained_on_and_sent(bucket: str, endpoint: str) -> None:
    stored = array(bucket, endpoint)
    expected = arraymlp.train(X, Y, validation=0.2, **HOW)
    run = arraymlp.train(stored["X"], stored["y"], validation=0.2, **HOW)
    same_training(run, expected)
    np.testing.assert_array_equal(run.predict(stored["X"]), expected.predict(X))
    np.testing.assert_array_equal(rows_elsewhere(run.data.X), rows_of(run.data.X))


def test_parquet_folders_are_trained_on_and_sent(bucket: str, endpoint: str) -> None:
    df, fs = table(), s3fs.S3FileSystem(endpoint_url=endpoint)
    for i, (a, b) in enumerate([(0, 100), (100, 101), (101, 400), (400, N)]):
        with fs.open(f"{bucket}/table/year={2020 + i}/part.parquet", "wb") as file:
            df[a:b].to_parquet(file, row_group_size=90, index=False)
    url = f"s3://{bucket}/table"
    in_memory = df.assign(year=np.repeat([2020, 2021, 2022, 2023], [100, 1, 299, N - 400]))
    in_memory = in_memory[[*df.columns, "year"]]
    with quiet():
        expected = arraymlp.train(in_memory, "label", validation=0.2, **HOW)
        run = arraymlp.train(url, "label", validation=0.2, **HOW)
    same_training(run, expected)
    assert (run.predict(url) == expected.predict(in_memory)).all()
    np.testing.assert_array_equal(rows_elsewhere(run.data.X), rows_of(run.data.X))
    found = opened(url)
    fs.rm(f"{bucket}/table/year=2022/part.parquet")
    with pytest.raises(FileNotFoundError, match=r"s3://bucket.*2022/part.parquet is no longer th"):
        found[:]
    with pytest.raises(FileNotFoundError, match=r"s3://.*/none: there is no such file or folder"):
        arraymlp.train(f"s3://{bucket}/none", "label")


def test_a_server_that_is_gone_is_named(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    own = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    own.start()
    try:
        host, port = own.get_host_and_port()
        there = f"http://{host}:{port}"
        s3fs.S3FileSystem(endpoint_url=there).mkdir("bucket")
        stored = array("bucket", there, config_kwargs={"retries": {"max_attempts": 1}})["X"]
        streamed = stream(stored, "float32")
        np.testing.assert_array_equal(rows_of(streamed), X)
    finally:
        own.stop()
    with pytest.raises(OSError, match=r"^X\[0:30\] could not be read: EndpointConnectionError: "):
        rows_of(streamed)
