"""The viewers: any number of them in one process, on one epoll, whose reads are thrown away in the kernel.

    python -m tests.bench.load <plan.json

Reads a plan, carries it out, prints a line when counting begins and an account in JSON at the end.
"""

import contextlib
import errno
import heapq
import json
import select
import socket
import statistics
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

from tests.bench import measure

_READ = 1 << 20
_WEIGH_EVERY = 0.1
_STALL = 1.0
"""Seconds without a byte after which a viewer sees its picture stop."""


class Visit(NamedTuple):
    """One viewer.

    Attributes:
        at: Seconds after the beginning when it connects.
        path: What it asks for.
        stay: Seconds until it leaves; None for the end of all.
    """

    at: float
    path: str
    stay: float | None = None


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        host: Address of the server.
        port: Port of the server.
        visits: Who comes when, earliest first.
        weigh_at: Seconds after the beginning when the server's memory is looked at a second time.
        count_from: Seconds after the beginning when counting begins.
        count_for: Seconds that are counted; with them it ends.
        pid: The process whose processor time and memory are accounted.
        weigh_for: Seconds during which memory is looked at then, and again behind what is counted; the median is told.
            With 0 it is looked at once, and at the end of what is counted.
    """

    host: str
    port: int
    visits: Sequence[Visit]
    weigh_at: float
    count_from: float
    count_for: float
    pid: int
    weigh_for: float = 0.0


@dataclass(frozen=True)
class Account:
    """What came of it. Times are in seconds, sizes in bytes; None stands for what did not happen.

    Attributes:
        viewers: How many came.
        failures: How many of them were refused, cut off, or got nothing.
        failure: What happened to the first of these.
        delivered: Bytes that viewers got while counting.
        cpu: Processor time that the server used while counting.
        cpu_of_viewers: Share of one processor that this process used: near 1, it is this that is measured.
        memory: What the server occupied before the first viewer, when the plan says, and at the end.
        first_byte_median: From connecting to the first byte of the body.
        first_byte_p99: The same, for the unluckiest hundredth.
        gap_p99: From one read to the next while counting.
        gap_most: The largest of these.
        stalls: Gaps of more than a second, while counting or before.
        rate_median: Bits per second that those got who were there all the time while counting.
        rate_least: The lowest of these.
    """

    viewers: int
    failures: int
    failure: str | None
    delivered: int
    cpu: float
    cpu_of_viewers: float
    memory: tuple[int, int, int]
    first_byte_median: float | None
    first_byte_p99: float | None
    gap_p99: float | None
    gap_most: float | None
    stalls: int
    rate_median: float | None
    rate_least: float | None


class Viewer:
    """One connection.

    Attributes:
        socket: What to wait for.
        first_byte: Seconds from connecting to the body's first byte; None before that.
        last: When it last got something of the body, by the monotonic clock.
        received: Bytes of the body.
        stays: Whether it stays to the end.
        failure: Why it got no further; None while it is well.
    """

    def __init__(self, plan: Plan, visit: Visit) -> None:
        """Begin to connect."""
        self.first_byte: float | None = None
        self.last = 0.0
        self.received = 0
        self.stays = visit.stay is None
        self.failure: str | None = None
        self._asked = time.monotonic()
        self._head: bytes | None = b""
        host = f"{plan.host}:{plan.port}"
        self._request = f"GET {visit.path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: VLC/3.0.21\r\n\r\n".encode()
        self.socket = socket.socket()
        self.socket.setblocking(False)
        code = self.socket.connect_ex((plan.host, plan.port))
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, "cannot connect")

    def ask(self) -> None:
        """Send the request, now that the connection stands."""
        self.socket.sendall(self._request)

    def read(self, scratch: bytearray) -> float | None:
        """Read what is there; return the seconds since the read before, if there was one.

        Raises:
            OSError: The connection or the answer is no good.
        """
        count = self._read_head() if self._head is not None else self._discard(scratch)
        if not count:
            return None
        now = time.monotonic()
        self.received += count
        gap = now - self.last
        self.last = now
        if self.first_byte is None:
            self.first_byte = now - self._asked
            return None
        return gap

    def _discard(self, scratch: bytearray) -> int:
        # On a TCP socket this frees the bytes without copying them (tcp(7)).
        count = self.socket.recv_into(scratch, _READ, socket.MSG_TRUNC)
        if not count:
            raise OSError("cut off")
        return count

    def _read_head(self) -> int:
        """Read the headers; return how much of the body came with them."""
        assert self._head is not None
        data = self.socket.recv(1 << 16)
        if not data:
            raise OSError("closed without an answer")
        self._head += data
        head, end, body = self._head.partition(b"\r\n\r\n")
        if not end:
            return 0
        status = head.split(b" ")[1]
        if status != b"200":
            raise OSError(f"answered with status {status.decode()}")
        self._head = None
        return len(body)


class Audience:
    """Those who watch.

    Attributes:
        viewers: All who ever came.
        gaps: Seconds from read to read, of all of them; may be emptied to begin anew.
        stalls: How many gaps were so long that the picture stopped.
    """

    def __init__(self, plan: Plan) -> None:
        """Prepare; the plan's time begins now."""
        self.viewers: list[Viewer] = []
        self.gaps: list[float] = []
        self.stalls = 0
        self._plan = plan
        self._begin = time.monotonic()
        self._coming = deque(plan.visits)
        self._leaving: list[tuple[float, int]] = []
        self._present: dict[int, Viewer] = {}
        self._poll = select.epoll()
        self._scratch = bytearray(_READ)

    def watch(self, until: float) -> None:
        """Let everybody come, read and leave, until so many seconds after the beginning."""
        while (now := time.monotonic() - self._begin) < until:
            while self._coming and self._coming[0].at <= now:
                self._admit(self._coming.popleft())
            while self._leaving and self._leaving[0][0] <= now:
                _, descriptor = heapq.heappop(self._leaving)
                self._dismiss(descriptor)
            next_coming = self._coming[0].at if self._coming else until
            next_leaving = self._leaving[0][0] if self._leaving else until
            for descriptor, event in self._poll.poll(max(0, min(until, next_coming, next_leaving) - now)):
                self._attend(descriptor, event)

    def close(self) -> None:
        """Send everybody home, and count what was still missing to them."""
        now = time.monotonic()
        for viewer in self._present.values():
            if viewer.failure:
                continue
            if viewer.first_byte is not None:
                self.stalls += now - viewer.last > _STALL
            elif viewer.stays:
                viewer.failure = "got nothing"
        for descriptor in list(self._present):
            self._dismiss(descriptor)
        self._poll.close()

    def _admit(self, visit: Visit) -> None:
        viewer = Viewer(self._plan, visit)
        descriptor = viewer.socket.fileno()
        self.viewers.append(viewer)
        self._present[descriptor] = viewer
        self._poll.register(descriptor, select.EPOLLOUT)
        if visit.stay is not None:
            heapq.heappush(self._leaving, (visit.at + visit.stay, descriptor))

    def _dismiss(self, descriptor: int) -> None:
        self._present.pop(descriptor).socket.close()

    def _attend(self, descriptor: int, event: int) -> None:
        viewer = self._present[descriptor]
        try:
            if event & select.EPOLLOUT:
                viewer.ask()
                self._poll.modify(descriptor, select.EPOLLIN)
                return
            gap = viewer.read(self._scratch)
        except BlockingIOError:
            return
        except OSError as error:
            viewer.failure = str(error)
            # It stays open: the next to get its descriptor would be taken for it when its time to leave comes.
            self._poll.unregister(descriptor)
            return
        if gap is not None:
            self.gaps.append(gap)
            self.stalls += gap > _STALL


def carry_out(plan: Plan) -> Account:
    """Do what a plan says, print a line when counting begins, and account for it."""
    memory = [measure.memory(plan.pid)]
    with contextlib.closing(Audience(plan)) as audience:
        audience.watch(plan.weigh_at)
        memory.append(_weigh(audience, plan, plan.weigh_at))
        audience.watch(plan.count_from)
        audience.gaps.clear()
        earlier = {viewer: viewer.received for viewer in audience.viewers}
        print("counting", flush=True)
        start, cpu_before, own_before = time.monotonic(), measure.cpu(plan.pid), time.process_time()
        audience.watch(plan.count_from + plan.count_for)
        seconds, cpu, own = time.monotonic() - start, measure.cpu(plan.pid), time.process_time()
        received = {viewer: viewer.received - earlier.get(viewer, 0) for viewer in audience.viewers}
        memory.append(_weigh(audience, plan, plan.count_from + plan.count_for))
    rates = [count * 8 / seconds for viewer, count in received.items() if viewer.stays]
    waits = [viewer.first_byte for viewer in audience.viewers if viewer.first_byte is not None]
    failures = [viewer.failure for viewer in audience.viewers if viewer.failure]
    return Account(
        viewers=len(audience.viewers),
        failures=len(failures),
        failure=failures[0] if failures else None,
        delivered=sum(received.values()),
        cpu=cpu - cpu_before,
        cpu_of_viewers=(own - own_before) / seconds,
        memory=(memory[0], memory[1], memory[2]),
        first_byte_median=measure.percentile(waits, 0.5),
        first_byte_p99=measure.percentile(waits, 0.99),
        gap_p99=measure.percentile(audience.gaps, 0.99),
        gap_most=max(audience.gaps, default=None),
        stalls=audience.stalls,
        rate_median=measure.percentile(rates, 0.5),
        rate_least=min(rates, default=None),
    )


def _weigh(audience: Audience, plan: Plan, since: float) -> int:
    """Tell what the server occupies in the middle of the time that is set for that."""
    samples = [measure.memory(plan.pid)]
    for number in range(round(plan.weigh_for / _WEIGH_EVERY)):
        audience.watch(since + (number + 1) * _WEIGH_EVERY)
        samples.append(measure.memory(plan.pid))
    return int(statistics.median(samples))


def _main() -> None:
    described = json.load(sys.stdin)
    visits = [Visit(*visit) for visit in described.pop("visits")]
    print(json.dumps(asdict(carry_out(Plan(visits=visits, **described)))))


if __name__ == "__main__":
    _main()
