"""Whoever speaks Arrow's interface, what is shared, and what happens to capsules."""

from __future__ import annotations

import gc
import importlib
import threading
from typing import Any

import otagate
import pyarrow as pa
import pytest
from test_arrow import SERIALS, VERSIONS, expected, said


class ArrayAlone:
    def __init__(self, held: Any) -> None:
        self.held = held

    def __arrow_c_array__(self, requested_schema: object | None = None) -> Any:
        return self.held.__arrow_c_array__(requested_schema)


class StreamAlone:
    def __init__(self, held: Any) -> None:
        self.held = held

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> Any:
        return self.held.__arrow_c_stream__(requested_schema)


def test_either_half_of_the_interface_will_do(fleet: otagate.Fleet) -> None:
    batch = pa.record_batch({"serial": SERIALS, "version": VERSIONS})
    table = pa.Table.from_batches([batch.slice(0, 2), batch.slice(2, 0), batch.slice(2)])
    for given in (ArrayAlone(batch), StreamAlone(batch), StreamAlone(table), StreamAlone(table.to_reader()), batch.to_struct_array()):
        assert said(fleet.decide_many(given, key="secret")) == expected(fleet)
    for given in (StreamAlone(table), ArrayAlone(batch)):
        again = fleet.decide_many(given, key="secret")
        assert said(fleet.decide_many(given, key="secret")) == said(again), "asked twice, it gives twice"
    # What comes out may go in: columns of texts are columns of texts.
    assert len(fleet.decide_many(fleet.devices("lamp"), key="secret")) == len(fleet)
    assert set(pa.record_batch(fleet.decide_many(fleet.devices("lamp", "edge"), key="secret")).column("status").to_pylist()) == {200}


def test_what_is_consumed_is_refused(fleet: otagate.Fleet) -> None:
    class Kept:
        def __init__(self, capsule: Any) -> None:
            self.capsule = capsule

        def __arrow_c_stream__(self, requested_schema: object | None = None) -> Any:
            return self.capsule

    kept = Kept(pa.table({"serial": ["SN-1"]}).__arrow_c_stream__())
    assert len(fleet.decide_many(kept, key="secret")) == 1
    for _ in range(3):
        with pytest.raises(otagate.InvalidArgument):
            fleet.decide_many(kept, key="secret")
    schema = pa.schema([]).__arrow_c_schema__()
    for wrong in (None, 5, (1, 2), schema, object()):
        with pytest.raises((TypeError, ValueError)):
            fleet.decide_many(Kept(wrong), key="secret")

    class Array:
        def __init__(self, given: Any) -> None:
            self.given = given

        def __arrow_c_array__(self, requested_schema: object | None = None) -> Any:
            return self.given

    for wrong in (None, 5, (1, 2), (), (schema,), (schema, schema), (schema, schema, schema)):
        with pytest.raises((TypeError, ValueError)):
            fleet.decide_many(Array(wrong), key="secret")
    # A capsule of ours that one consumer took: the next gets nothing, and nobody crashes.
    columns = fleet.decide_many(pa.table({"serial": ["SN-1"]}), key="secret")
    given = columns.__arrow_c_array__()
    assert pa.record_batch(Array(given)).num_rows == 1
    with pytest.raises((ValueError, pa.ArrowInvalid)):
        pa.record_batch(Array(given))
    assert pa.record_batch(columns).num_rows == 1
    assert pa.schema(columns).names == list(columns.names)


def test_a_stream_that_fails_says_so(fleet: otagate.Fleet) -> None:
    def batches() -> Any:
        yield pa.record_batch({"serial": ["SN-1"]})
        raise KeyError("the host's own")

    reader = pa.RecordBatchReader.from_batches(pa.schema([("serial", pa.string())]), batches())
    with pytest.raises(otagate.InvalidArgument, match="the host's own"):
        fleet.decide_many(reader, key="secret")
    assert not [row for row in fleet.verdicts() if row.count], "nothing was decided"


def test_other_libraries(fleet: otagate.Fleet) -> None:
    pandas, polars = importlib.import_module("pandas"), importlib.import_module("polars")
    for frame in (
        pandas.DataFrame({"serial": SERIALS, "version": VERSIONS}),
        polars.DataFrame({"serial": SERIALS, "version": VERSIONS}),
        polars.DataFrame({"serial": SERIALS, "version": VERSIONS}).with_columns(polars.all().cast(polars.Categorical)),
        polars.DataFrame({"serial": [None, *SERIALS], "version": ["x", *VERSIONS]}).slice(1),
    ):
        columns = fleet.decide_many(frame, key="secret")
        assert said(columns) == expected(fleet)
        assert polars.DataFrame(columns).rows() == expected(fleet)
        assert pandas.DataFrame.from_arrow(columns)["status"].tolist() == [row[0] for row in expected(fleet)]


def test_the_numbers_of_a_column(fleet: otagate.Fleet) -> None:
    table = pa.table({"serial": SERIALS * 1_000, "version": VERSIONS * 1_000})
    columns = fleet.decide_many(table, key="secret")
    batch = pa.record_batch(columns)
    assert list(memoryview(columns.buffer("status")).cast("H")) == batch.column("status").to_pylist()
    names = batch.column("reason").dictionary.to_pylist()
    assert [names[place] for place in columns.buffer("reason")] == batch.column("reason").to_pylist()
    retries = memoryview(columns.buffer("retry_after")).cast("I")
    assert len(retries) == len(columns) == 6_000
    with pytest.raises(KeyError):
        columns.buffer("serial")
    # The whole is decided at one revision, by the same rules as row by row.
    assert said(columns) == expected(fleet) * 1_000
    assert columns.buffer("meant") == memoryview(batch.column("meant").indices.buffers()[1])[: 4 * 6_000].tobytes()


def test_columns_are_read_by_many_threads_and_outlive_everything(fleet: otagate.Fleet) -> None:
    columns = fleet.decide_many(pa.table({"serial": SERIALS * 2_000, "version": VERSIONS * 2_000}), key="secret")
    told: list[Any] = []
    threads = [threading.Thread(target=lambda: told.append(pa.record_batch(columns))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    want = expected(fleet) * 2_000
    del columns, fleet
    gc.collect()
    filler = [bytes(100_000) for _ in range(50)]
    for batch in told:
        batch.validate(full=True)
        assert [tuple(row.values()) for row in batch.to_pylist()] == want
    assert len(filler) == 50
