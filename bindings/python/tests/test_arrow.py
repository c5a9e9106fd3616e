"""Tables of check-ins, of every kind that a text has in Arrow, and answers as columns."""

from __future__ import annotations

from typing import Any

import otagate
import pyarrow as pa
import pytest

SERIALS = ["SN-1", None, "EDGE-1", "nobody", "SN-2", "EMPTY-1"]
VERSIONS = ["2.1.0", "2.0.0", "", None, "1.0.0", "1.0.0"]
KINDS = [
    pa.string(),
    pa.large_string(),
    pa.string_view(),
    pa.binary(),
    pa.large_binary(),
    pa.binary_view(),
    pa.dictionary(pa.int8(), pa.string()),
    pa.dictionary(pa.uint32(), pa.large_string()),
]


def expected(fleet: otagate.Fleet) -> list[tuple[Any, ...]]:
    told = [fleet.decide("secret", serial or "", version or "") for serial, version in zip(SERIALS, VERSIONS)]
    return [(each.status, each.reason, each.meant, each.retry_after) for each in told]


def said(columns: otagate.Columns) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in pa.record_batch(columns).to_pylist()]


def column(values: list[Any], kind: Any) -> Any:
    return pa.array(values, pa.string()).cast(kind)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_kind_of_text(fleet: otagate.Fleet, kind: Any) -> None:
    serials, versions = column(SERIALS, kind), column(VERSIONS, kind)
    table = pa.table({"key": column(["secret"] * 6, kind), "serial": serials, "version": versions})
    assert said(fleet.decide_many(table)) == expected(fleet)
    batch = pa.record_batch({"serial": serials, "version": versions, "another": serials})
    assert said(fleet.decide_many(batch, key="secret")) == expected(fleet)
    # Parts of it, and parts of parts.
    for start in range(6):
        part = pa.concat_tables([table.slice(start), table.slice(0, start), table.slice(2, 0)])
        want = expected(fleet)
        assert said(fleet.decide_many(part)) == want[start:] + want[:start]
        assert said(fleet.decide_many(batch.slice(start, 2), key=b"secret")) == want[start : start + 2]


def test_nothing_and_nulls(fleet: otagate.Fleet) -> None:
    table = pa.table({"serial": pa.array([], pa.string()), "version": pa.array([], pa.string())})
    assert said(fleet.decide_many(table, key="secret")) == []
    table = pa.table({"serial": pa.nulls(3), "version": pa.nulls(3, pa.dictionary(pa.int8(), pa.string()))})
    assert [row[0] for row in said(fleet.decide_many(table, key="secret"))] == [401] * 3


def test_many_rows_are_of_one_revision_and_the_same(fleet: otagate.Fleet) -> None:
    serials = [f"SN-{number}" for number in range(1_100)] * 10
    table = pa.table({"serial": serials, "version": ["2.1.0", "2.0.0"] * 5_500})
    told = said(fleet.decide_many(table, key="secret"))
    rows = [("secret", serial, version) for serial, version in zip(serials, ["2.1.0", "2.0.0"] * 5_500)]
    assert [row[:3] for row in told] == [(each.status, each.reason, each.meant) for each in fleet.decide_many(rows)]


def test_what_is_no_table_of_check_ins(fleet: otagate.Fleet) -> None:
    for wrong, says in [
        ({"version": ["1"]}, "no column `serial`; it has `version`"),
        ({"serial": [17]}, "column `serial` is of Int64"),
        ({"serial": ["1"], "key": ["k"]}, "leave one out"),
    ]:
        with pytest.raises(otagate.InvalidArgument, match=says):
            fleet.decide_many(pa.table(wrong), key="secret")
    with pytest.raises(otagate.InvalidArgument, match="no column `key`"):
        fleet.decide_many(pa.table({"serial": ["1"]}))
    with pytest.raises(otagate.InvalidArgument, match="a table of check-ins is wanted"):
        fleet.decide_many(pa.array(["a"]))


class Once:
    """Gives the same capsules again and again, as nobody should."""

    def __init__(self, batch: Any) -> None:
        self.capsules = batch.__arrow_c_array__()

    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]:
        schema, array = self.capsules
        return schema, array


def test_capsules_are_taken_once(fleet: otagate.Fleet) -> None:
    once = Once(pa.record_batch({"serial": ["SN-1"], "version": ["2.1.0"]}))
    assert [row[0] for row in said(fleet.decide_many(once, key="secret"))] == [304]
    with pytest.raises(otagate.Error):
        fleet.decide_many(once, key="secret")


def test_answers_outlive_what_they_came_from(fleet: otagate.Fleet) -> None:
    table = pa.table({"serial": SERIALS, "version": VERSIONS})
    columns = fleet.decide_many(table, key="secret")
    assert (len(columns), columns.names) == (6, ("status", "reason", "meant", "retry_after"))
    statuses = memoryview(columns.buffer("status")).cast("H")
    batch, want = pa.record_batch(columns), expected(fleet)
    del columns, table
    fleet.apply({"change": "remove-group", "product": "lamp", "group": "stable"})
    fleet.reclaim()
    assert [tuple(row.values()) for row in batch.to_pylist()] == want
    assert list(statuses) == [row[0] for row in want]
    batch.validate(full=True)


def test_devices_are_all_there(fleet: otagate.Fleet) -> None:
    devices = pa.record_batch(fleet.devices("lamp"))
    devices.validate(full=True)
    assert devices.num_rows == len(fleet) == 1_003
    by_serial = {row["serial"]: row for row in devices.to_pylist()}
    assert by_serial["EDGE-1"]["group"] == "edge" and by_serial["BLOCKED-1"]["state"] == "blocked"
    assert len(fleet.devices("lamp", "edge")) == 1
    with pytest.raises(KeyError):
        fleet.devices("lamp").buffer("nothing")
    with pytest.raises(otagate.InvalidArgument):
        fleet.devices("lamp").buffer("serial")
