#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""plot.py DIR: draw what `./dev bench --plot DIR` left there, as SVG beside it.

latency.svg        the latency of single operations, by percentile
rate_by_batch.svg  messages per second, by the messages handed over at once
rate_by_size.svg   messages per second, by their size

A plot whose measures did not run is left out.
"""
import json
import pathlib
import sys

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "slipring"  # the same figures make the same file
matplotlib.rcParams["svg.fonttype"] = "none"
import matplotlib.pyplot as pyplot  # noqa: E402

DECADE = 20  # quantiles per decade in tails.json: at the shares 1 - 10^(-i / DECADE)
TAILS = [("latency_56B", "56 bytes, both ends spinning"),
         ("handover_1MiB", "hand-over of 1 MiB, payload untouched"),
         ("wake_sleeping", "to a reader asleep")]
BATCHES = [(1, "rate_56B_single"), (4, "rate_56B_batch4"), (16, "rate_56B_batch16"),
           (64, "rate_56B_batch64"), (256, "rate_56B_batch256")]
SIZES = [(64, "size_64B"), (512, "size_512B"), (1 << 12, "size_4KiB"), (1 << 15, "size_32KiB"),
         (1 << 18, "size_256KiB"), (1 << 21, "size_2MiB"), (1 << 24, "size_16MiB")]
COLOURS = {}


def style(system):
    """Ours stands out, what is bare is dashed, and a system looks the same in all plots."""
    if system == "slipring":
        return {"color": "black", "linewidth": 2.5, "zorder": 3}
    colour = COLOURS.setdefault(system, f"C{len(COLOURS) % 10}")
    return {"color": colour, "linestyle": "--" if system.startswith("bare") else "-"}


def save(figure, folder, name):
    figure.tight_layout()
    figure.savefig(folder / name, metadata={"Date": None})
    print(folder / name)


def draw_latency(folder, tails):
    panels = [panel for panel in TAILS if any(t["name"] == panel[0] for t in tails)]
    if not panels:
        return
    figure, axes = pyplot.subplots(1, len(panels), figsize=(5 * len(panels), 4.5), squeeze=False)
    for axis, (name, title) in zip(axes[0], panels):
        most = 0
        for tail in tails:
            if tail["name"] == name:
                nines = [i / DECADE for i in range(len(tail["quantiles"]))]
                axis.plot(nines, tail["quantiles"], label=tail["system"], **style(tail["system"]))
                most = max(most, nines[-1])
        axis.set_yscale("log")
        shares = ["0", "90", "99", "99.9", "99.99", "99.999", "99.9999"][:int(most) + 1]
        axis.set_xticks(range(len(shares)), shares)
        axis.set(title=title, xlabel="percentile", ylabel="ns one way")
        axis.grid(True, which="major", alpha=0.3)
        axis.legend(fontsize="small")
    save(figure, folder, "latency.svg")


def draw_rate(folder, figures, points, title, label, file):
    """points: (x, name of the measure)."""
    lines = {}
    for x, name in points:
        for figure in figures:
            if figure["name"] == name:
                lines.setdefault(figure["system"], []).append((x, figure["value"]))
    lines = {system: line for system, line in lines.items() if len(line) > 1}
    if not lines:
        return
    figure, axis = pyplot.subplots(figsize=(7.5, 5))
    for system, line in lines.items():
        axis.plot(*zip(*line), marker="o", markersize=4, label=system, **style(system))
    axis.set_xscale("log", base=2)
    axis.set_xticks([x for x, _ in points], [name.split("_")[-1] for _, name in points])
    axis.set_yscale("log")
    axis.set(title=title, xlabel=label, ylabel="messages per second")
    axis.grid(True, which="major", alpha=0.3)
    axis.legend(fontsize="small")
    save(figure, folder, file)


def main():
    folder = pathlib.Path(sys.argv[1])
    figures = json.loads((folder / "figures.json").read_text())
    tails = json.loads((folder / "tails.json").read_text())
    draw_latency(folder, tails)
    draw_rate(folder, figures, BATCHES, "56-byte messages, one process to another",
              "messages handed over at once", "rate_by_batch.svg")
    draw_rate(folder, figures, SIZES, "copied in and read whole, one process to another",
              "bytes per message", "rate_by_size.svg")


if __name__ == "__main__":
    main()
