"""What would every device of a product be told now? A stacked bar for each group, by reason.

    pip install otagate numpy pyarrow matplotlib
    python plot_fleet.py fleet.toml PRODUCT fleet.png

The key of the product comes from the environment, OTAGATE_KEY, since a list of processes shows arguments. Besides numpy it needs pyarrow, which reads the columns
that otagate gives (polars would do as well), and matplotlib. The cells (`# %%`) run one by one in an editor that knows them.
"""

# pyarrow has no stubs, and those of matplotlib leave keyword arguments open:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

# %% What is asked for
from __future__ import annotations

import os
import sys
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no window: a file

import matplotlib.pyplot as plt
import numpy as np
import otagate
import pyarrow as pa

if len(sys.argv) != 4 or "OTAGATE_KEY" not in os.environ:
    sys.exit("usage: OTAGATE_KEY=SECRET plot_fleet.py FLEET.toml PRODUCT OUT.png")
fleet_file, product, out = sys.argv[1:]

# %% Every device, and what it would be told: columns in, columns out, all from one revision
def batch(columns: otagate.Columns) -> Any:
    return pa.record_batch(columns)  # pyright: ignore[reportUnknownVariableType]


fleet = otagate.Fleet.load(fleet_file)
devices = fleet.devices(product)
table, answers = batch(devices), batch(fleet.decide_many(devices, key=os.environ["OTAGATE_KEY"]))
print(f"{table.num_rows} devices of {product} at revision {fleet.revision}")

# %% Counted by group and reason: both columns are dictionaries, so this is arithmetic on places
# A device whose group does not exist stands under the name that it has; a null cannot be here.
groups, group_names = table["group"].indices.to_numpy(), table["group"].dictionary.to_pylist()
reasons, reason_names = answers["reason"].indices.to_numpy(), answers["reason"].dictionary.to_pylist()
counts = np.zeros((len(group_names), len(reason_names)), dtype=np.int64)
np.add.at(counts, (groups, reasons), 1)
assert counts.sum() == table.num_rows

# %% An order and a look for each reason, the same in every plot, so that two of them can be compared
# Served at the bottom, then up to date, unavailable, unauthorized; in each by number. The eight colours of Okabe and Ito can be told apart by the colour-blind;
# what is more than eight is told by its hatching.
PALETTE = ["#009E73", "#56B4E9", "#E69F00", "#D55E00", "#0072B2", "#CC79A7", "#F0E442", "#999999"]
HATCHES = ["", "///", "...", "xxx"]
ORDER = sorted(otagate.reasons(), key=lambda reason: ([200, 304, 404, 401].index(reason.status), reason.number))
LOOK = {reason.name: (PALETTE[at % len(PALETTE)], HATCHES[at // len(PALETTE)]) for at, reason in enumerate(ORDER)}

# %% The plot
by_size = np.argsort(-counts.sum(axis=1), kind="stable")
labels = [f"{group_names[at]}\n{counts[at].sum():,}" for at in by_size]
figure, axes = plt.subplots(figsize=(max(8.0, 3.0 + len(labels) * max(0.7, 0.1 * max(map(len, labels)))), 5.0), dpi=120, layout="constrained")
bottom = np.zeros(len(labels))
for reason in ORDER:
    shares = counts[by_size, reason_names.index(reason.name)] / counts[by_size].sum(axis=1) * 100
    if not shares.any():
        continue
    colour, hatch = LOOK[reason.name]
    axes.bar(labels, shares, bottom=bottom, width=0.7, color=colour, hatch=hatch, edgecolor="white", label=f"{reason.status} {reason.name}")
    bottom += shares
axes.set_title(f"What the {table.num_rows:,} devices of {product} would be told, revision {fleet.revision}", pad=12)
axes.set_xlabel("group, and its number of devices")
axes.set_ylabel("share of the group's devices (%)")
axes.set_ylim(0, 100)
axes.spines[["top", "right"]].set_visible(False)
# Outside, so that it covers nothing; from top to bottom as the bars are.
handles, names = axes.get_legend_handles_labels()
figure.legend(handles[::-1], names[::-1], title="answer", loc="outside right center", frameon=False)
figure.savefig(out)
print(f"{out}: {len(labels)} groups, {len(names)} reasons")
