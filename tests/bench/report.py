"""How results look: a table for people, JSON for programs."""

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tests.bench.scenarios import Figures, Limit, Scenario

Runs = Mapping[str, Sequence[Figures]]
"""What was measured in one scenario: for each side one entry per repetition."""


class Figure(NamedTuple):
    """How a figure is shown.

    Attributes:
        label: What it is.
        unit: What it is shown in.
        scale: What the measured value is multiplied with for that.
        digits: Digits after the point.
    """

    label: str
    unit: str
    scale: float
    digits: int


FIGURES = {
    "cpu_per_gb": Figure("CPU per GB delivered", "s", 1, 3),
    "cpu_per_visit": Figure("CPU per visit", "ms", 1e3, 2),
    "cpu_share": Figure("CPU", "%", 1e2, 3),
    "started_in": Figure("from start to serving", "s", 1, 2),
    "loaded_in": Figure("list loaded in", "s", 1, 2),
    "reloaded_in": Figure("list reloaded in", "s", 1, 2),
    "block_idle": Figure("slowest /health, idle", "ms", 1e3, 1),
    "block_loading": Figure("longest block, loading", "ms", 1e3, 1),
    "block_reloading": Figure("longest block, reloading", "ms", 1e3, 1),
    "block_serving": Figure("longest block, serving", "ms", 1e3, 1),
    "list_first": Figure("list, first time", "ms", 1e3, 1),
    "list_later": Figure("list, later", "ms", 1e3, 1),
    "list_first_packed": Figure("list for gzip, first time", "ms", 1e3, 1),
    "list_packed": Figure("list for gzip, later", "ms", 1e3, 1),
    "memory_before": Figure("memory, no list", "MB", 1e-6, 1),
    "memory": Figure("memory", "MB", 1e-6, 1),
    "memory_reloaded": Figure("memory, reloaded", "MB", 1e-6, 1),
    "memory_served": Figure("memory, served", "MB", 1e-6, 1),
    "memory_per_channel": Figure("memory per channel", "kB", 1e-3, 1),
    "memory_per_viewer": Figure("memory per viewer", "kB", 1e-3, 1),
    "first_byte_median": Figure("first byte, median", "ms", 1e3, 1),
    "first_byte_p99": Figure("first byte, p99", "ms", 1e3, 1),
    "gap_p99": Figure("gap between reads, p99", "ms", 1e3, 1),
    "gap_most": Figure("gap between reads, largest", "ms", 1e3, 1),
    "switch_median": Figure("from loss to backup, median", "ms", 1e3, 1),
    "switch_p95": Figure("from loss to backup, p95", "ms", 1e3, 1),
    "join_median": Figure("from request to key frame, median", "ms", 1e3, 1),
    "join_p95": Figure("from request to key frame, p95", "ms", 1e3, 1),
    "stalls": Figure("stalls of more than 1 s", "", 1, 0),
    "failures": Figure("viewers that failed", "", 1, 0),
    "rate_median": Figure("rate, median", "Mbit/s", 1e-6, 2),
    "rate_least": Figure("rate, least", "Mbit/s", 1e-6, 2),
    "upstreams_opened": Figure("upstreams opened", "", 1, 0),
    "upstreams_peak": Figure("most at once per channel", "", 1, 0),
    "segments_fetched": Figure("segments fetched upstream", "", 1, 0),
    "upstreams_left": Figure("upstreams open 1 s later", "", 1, 0),
    "cpu_of_viewers": Figure("CPU of the viewers' process", "%", 1e2, 0),
}
"""Every figure there is, in the order in which they are shown."""

_COMPARED = ("s", "ms", "Mbit/s")
"""Units of which a ratio says something."""


def medians(runs: Runs) -> dict[str, Figures]:
    """Take the median of each figure, side by side."""
    return {
        side: {name: statistics.median(run[name] for run in repetitions) for name in FIGURES if name in repetitions[0]}
        for side, repetitions in runs.items()
    }


def ratios(runs: Runs) -> Figures:
    """Take the median of the ratios of the first two sides; each is of two runs that followed each other."""
    if len(runs) < 2:
        return {}
    first, second = list(runs.values())[:2]
    return {
        name: statistics.median(one[name] / other[name] for one, other in zip(first, second, strict=True))
        for name, figure in FIGURES.items()
        if figure.unit in _COMPARED and all(run.get(name) for run in (*first, *second))
    }


def table(name: str, scenario: Scenario, runs: Runs) -> str:
    """Write the results of a scenario for people."""
    sides, quotients = medians(runs), ratios(runs)
    rows = [["", *sides, "ratio" if quotients else "", "wanted"]]
    first = next(iter(sides.values()))
    for figure in first:
        shown = FIGURES[figure]
        cells = [_number(values.get(figure), shown) for values in sides.values()]
        quotient = f"{quotients[figure]:.2f}" if figure in quotients else ""
        limit = scenario.limits.get(figure)
        wanted = _judge(limit, shown, first[figure], quotients.get(figure)) if limit else ""
        rows.append([shown.label, *cells, quotient, wanted])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:-1], widths[1:-1]), row[-1]]).rstrip() for row in rows
    ]
    return "\n".join([f"{name}: {scenario.about}", *(f"  {line}" for line in lines), *_obstacle(scenario), ""])


def as_json(results: Mapping[str, Runs]) -> str:
    """Write the results of all scenarios for programs: seconds, bytes, bits per second, and counts."""
    described = {
        name: {"medians": medians(runs), "ratios": ratios(runs), "runs": runs} for name, runs in results.items()
    }
    return json.dumps(described, indent=2)


def _number(value: float | None, shown: Figure) -> str:
    return "" if value is None else f"{value * shown.scale:,.{shown.digits}f} {shown.unit}".rstrip()


def _judge(limit: Limit, shown: Figure, value: float, quotient: float | None) -> str:
    actual = quotient if limit.of_ratio else value
    if actual is None:
        return ""
    wanted = f"{limit.most:g} x" if limit.of_ratio else _number(limit.most, shown)
    return f"<= {wanted}: {'yes' if actual <= limit.most else 'NO'}"


def _obstacle(scenario: Scenario) -> list[str]:
    obstacle = scenario.obstacle()
    return [f"  (not all of it was measured: {obstacle})"] if obstacle else []
