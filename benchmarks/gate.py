"""What the gate costs, beside a bare proxy in the same run: processor time a call, latency, time to the first chunk.

``python benchmarks/gate.py [--rounds 7] [--calls 2000] [--streams 100] [--check]``; the README beside it explains the
figures. ``--check`` fails when the gate takes more than 2.5 times the processor time of the bare proxy, or delays the
first chunk by more than 5 ms.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from servers import ROOT, Target, targets

MOST_CPU = 2.5
MOST_DELAY_MS = 5.0
STREAM_PACE = "100:25"
STREAM_SECONDS = 1.2

Rounds = dict[str, list[dict[str, Any]]]


def send(target: Target, **options: object) -> dict[str, Any]:
    """Send load to a target from a process of its own and return what it measured."""
    command = [sys.executable, "benchmarks/load.py", "--url", target.url, "--key", target.key, "--pid", str(target.pid)]
    for name, value in options.items():
        command += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    measured: dict[str, Any] = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    if measured["failed"]:
        raise RuntimeError(f"{measured['failed']} of {measured['calls']} calls to {target.name} failed")
    measured["cpu_ms"] = measured["cpu_ms_per_call"][str(target.pid)]
    return measured


def interleave(all_targets: Iterable[Target], rounds: int, **options: object) -> Rounds:
    """Send the same load to each target in turn, so many times, so that a busy moment hits all alike."""
    measured: Rounds = {target.name: [] for target in all_targets}
    for _ in range(rounds):
        for target in all_targets:
            measured[target.name].append(send(target, **options))
    return measured


def middle(measured: Rounds, name: str, figure: str) -> float:
    """Return the median of a figure over the rounds."""
    return statistics.median(one[figure] for one in measured[name])


def ratio_of(measured: Rounds, figure: str) -> float:
    """Return how many times as much the gate takes as the bare proxy, as the median of the rounds."""
    pairs = zip(measured["gate"], measured["bare"], strict=True)
    return statistics.median(gate[figure] / bare[figure] for gate, bare in pairs)


def show(title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table."""
    print(f"\n{title}")
    for row in [header, *rows]:
        cells = [f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row]
        print("  " + cells[0].ljust(8) + "".join(cell.rjust(18) for cell in cells[1:]))


def measure_plain(rounds: int, calls: int) -> float:
    """Measure plain calls, print the table, and return the ratio of processor time."""
    with targets("none") as all_targets:
        interleave(all_targets, 1, calls=calls, parallel=10)
        busy = interleave(all_targets, rounds, calls=calls, parallel=10)
        alone = interleave(all_targets, rounds, calls=max(calls // 10, 50), parallel=1)
    rows = [
        [
            name,
            middle(busy, name, "cpu_ms"),
            middle(busy, name, "calls_per_second"),
            middle(busy, name, "p50_ms"),
            middle(alone, name, "p50_ms"),
            middle(alone, name, "p99_ms"),
        ]
        for name in busy
    ]
    header = ["", "CPU ms/call", "calls/s, 10 par.", "p50 ms, 10 par.", "p50 ms, alone", "p99 ms, alone"]
    show(f"Plain chat calls: median of {rounds} rounds of {calls}", header, rows)
    ratio = ratio_of(busy, "cpu_ms")
    print(f"  gate / bare: {ratio:.2f} times the CPU (at most {MOST_CPU})")
    return ratio


def measure_streams(rounds: int, streams: int) -> float:
    """Measure streams in parallel, print the table, and return by how much the gate delays the first chunk."""
    options = {"calls": 3 * streams, "parallel": streams, "stream": True, "spread": STREAM_SECONDS}
    with targets(STREAM_PACE) as all_targets:
        interleave(all_targets, 1, calls=streams, parallel=streams, stream=True, spread=STREAM_SECONDS)
        measured = interleave(all_targets, rounds, **options)
    rows = [
        [
            name,
            middle(measured, name, "first_p50_ms"),
            middle(measured, name, "first_p99_ms"),
            middle(measured, name, "p50_ms"),
            middle(measured, name, "cpu_ms"),
        ]
        for name in measured
    ]
    header = ["", "first p50 ms", "first p99 ms", "whole p50 ms", "CPU ms/stream"]
    show(f"{streams} streams in parallel: median of {rounds} rounds", header, rows)
    delay = middle(measured, "gate", "first_p50_ms") - middle(measured, "direct", "first_p50_ms")
    print(f"  gate - direct: {delay:.2f} ms to the first chunk (at most {MOST_DELAY_MS})")
    return delay


def main() -> int:
    """Measure, print, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=2000, help="plain calls in a round")
    parser.add_argument("--streams", type=int, default=100, help="streams in parallel")
    parser.add_argument("--check", action="store_true", help="fail when a bound is missed")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, load {load:.2f} before the start")
    ratio = measure_plain(given.rounds, given.calls)
    delay = measure_streams(max(given.rounds // 2, 1), given.streams)
    missed = ratio > MOST_CPU or delay > MOST_DELAY_MS
    print("\nA bound was missed." if missed else "\nBoth bounds hold.")
    return int(missed and given.check)


if __name__ == "__main__":
    sys.exit(main())
