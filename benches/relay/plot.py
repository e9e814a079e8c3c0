#!/usr/bin/env python3
"""Draws what `cargo bench --bench relay -- --soak MINUTES` wrote down: plot.py CSV PNG (matplotlib)."""

import csv
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

with open(sys.argv[1], newline="", encoding="ascii") as file:
    rows = [{name: int(value) for name, value in row.items()} for row in csv.DictReader(file)]
minutes = [row["second"] / 60 for row in rows]
figure, panes = plt.subplots(4, 1, sharex=True, figsize=(10, 10))


def draw(pane, title, *columns, per=1 << 20):
    """One pane; a server that is not there is a gap."""
    for column in columns:
        values = [row[column] / per or None for row in rows]
        pane.plot(minutes, values, linewidth=0.8, label=column)
    pane.set_title(title, fontsize=10, loc="left")
    pane.set_ylim(bottom=0)
    pane.grid(alpha=0.3)
    if len(columns) > 1:
        pane.legend(loc="upper left", fontsize=8)


draw(panes[0], "memory, MiB (a gap: killed)", "resident")
draw(panes[1], "spool on disk, MiB", "spool")
draw(panes[2], "audit on disk, MiB (kept for 400 days)", "audit")
draw(panes[3], "messages, thousands", "accepted", "delivered", per=1000)
panes[3].set_xlabel("minutes")
figure.tight_layout()
figure.savefig(sys.argv[2], dpi=72)
