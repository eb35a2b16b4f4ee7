"""What a process costs, as the kernel counts it, and what a list of samples says."""

import math
import time
from collections.abc import Sequence
from pathlib import Path


def cpu(pid: int) -> float:
    """Tell the seconds of processor time that a process and its living descendants have used, in the kernel too."""
    return sum(map(cpu_alone, tree(pid)))


def cpu_alone(pid: int) -> float:
    """Tell the seconds of processor time that a process has used, without its descendants."""
    # clock_getcpuclockid(3), which Python lacks: exact, where /proc/PID/stat counts in ticks of 10 ms.
    return time.clock_gettime(~pid << 3 | 2)


def memory(pid: int) -> int:
    """Tell the bytes that a process and its descendants occupy, shared pages in proportion.

    Files they map are left out: a library's share would change whenever another process starts that maps it too.
    """
    kilobytes = 0
    for member in tree(pid):
        for line in Path(f"/proc/{member}/smaps_rollup").read_text().splitlines():
            if line.startswith(("Pss_Anon:", "Pss_Shmem:")):
                kilobytes += int(line.split()[1])
    return kilobytes << 10


def tree(pid: int) -> list[int]:
    """List a process and its descendants."""
    found = [pid]
    for member in found:
        for children in Path(f"/proc/{member}/task").glob("*/children"):
            found += map(int, children.read_text().split())
    return found


def percentile(samples: Sequence[float], share: float) -> float | None:
    """Tell the sample that this share of all does not exceed (the nearest rank); None if there is none."""
    if not samples:
        return None
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
