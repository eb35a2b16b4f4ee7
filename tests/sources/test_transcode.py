"""A stream through programs that stand for ffmpeg: what comes out, and what is said of those that fail."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from streamproxy.config import RelayConfig
from streamproxy.errors import TranscodeFailed, TranscodingBusy, UpstreamBroken, UpstreamError, UpstreamStalled
from streamproxy.model import TRANSPORT_STREAM, StreamFormat
from streamproxy.sources.slots import ProcessSlots
from streamproxy.sources.transcode import TranscodeSource
from tests.formats.samples import clusters, fragments, parts
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here
from tests.helpers.hls_origin import Recorder
from tests.helpers.programs import children, program
from tests.helpers.stream import PACKET, packets, runs

ECHO = """
while data := os.read(0, 65536):
    os.write(1, data)
"""
ECHO_A_LITTLE = """
size = 200_000
while size and (data := os.read(0, min(size, 65536))):
    size -= len(data)
    while data:
        data = data[os.write(1, data):]
"""
SWALLOW = """
while os.read(0, 65536):
    pass
"""


class Feed:
    """What is transcoded: pieces, and then an end, or silence.

    Attributes:
        taken: Pieces that were taken.
        left: Whether it is closed.
    """

    def __init__(self, pieces: Sequence[bytes], *, ends: bool = True, form: StreamFormat = TRANSPORT_STREAM) -> None:
        self.format = form
        self.taken = 0
        self.left = False
        self._pieces = pieces
        self._ends = ends

    async def get(self) -> bytes:
        if self.taken == len(self._pieces):
            if self._ends:
                return b""
            await asyncio.Event().wait()
        self.taken += 1
        return self._pieces[self.taken - 1]

    def opened(self) -> AbstractAsyncContextManager["Feed"]:
        return self._open()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator["Feed"]:
        try:
            yield self
        finally:
            self.left = True


class Endless(Feed):
    """Packets for ever."""

    def __init__(self, *, pause: float = 0.0) -> None:
        super().__init__([])
        self._pause = pause

    async def get(self) -> bytes:
        await asyncio.sleep(self._pause)
        self.taken += 1
        return packets(100 * (self.taken - 1), 100)


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    before = children()
    yield
    assert children() == before


def transcoding(
    feed: Feed | None,
    *command: str,
    media_type: str = "video/mp2t",
    stall: float = 10,
    start: float = 10,
    grace: float = 3,
    slots: ProcessSlots | None = None,
) -> TranscodeSource:
    return TranscodeSource(
        "tv",
        feed.opened if feed else None,
        command,
        media_type,
        RelayConfig(stall_timeout=stall, chunk_delay=0.05),
        start_timeout=start,
        grace=grace,
        slots=slots,
    )


async def end_of(source: TranscodeSource, sink: Recorder | None = None) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await source.run(sink or Recorder())
    return caught.value


async def test_what_ends_before_there_was_anything_is_a_loss() -> None:
    error = await end_of(transcoding(Feed([]), "cat"))
    assert (type(error), error.reason) == (UpstreamBroken, "what is transcoded has ended")


async def failure_of(source: TranscodeSource, sink: Recorder | None = None) -> TranscodeFailed:
    error = await end_of(source, sink)
    assert isinstance(error, TranscodeFailed)
    return error


async def test_what_goes_in_comes_out_in_whole_packets_until_its_end() -> None:
    sink, data = Recorder(), packets(0, 10_000)
    feed = Feed([data[at : at + 50_000] for at in range(0, len(data), 50_000)])
    await transcoding(feed, "cat").run(sink)
    assert sink.data == data
    assert all(len(chunk) % PACKET == 0 for chunk in sink.chunks)
    assert feed.left


async def test_the_header_of_what_is_transcoded_goes_first() -> None:
    sink, data = Recorder(), packets(0, 100)
    form = StreamFormat("video/mp4", data[:1000])
    await transcoding(Feed([data[1000:]], form=form), "cat").run(sink)
    assert sink.data == data


@pytest.mark.parametrize(
    ("media_type", "make"),
    [
        ("video/mp4", fragments),
        ("video/webm", clusters),
        ("video/x-matroska", clusters),
        ("multipart/x-mixed-replace;boundary=frame", parts),
    ],
)
async def test_viewers_can_join_other_formats_at_every_piece(
    media_type: str, make: Callable[[int], tuple[bytes, list[bytes]]]
) -> None:
    header, pieces = make(3)
    sink, data = Recorder(), header + b"".join(pieces)
    source = transcoding(
        Feed([data[at : at + 7] for at in range(0, len(data), 7)], ends=False), "cat", media_type=media_type
    )
    assert source.format == StreamFormat(media_type)
    running = asyncio.create_task(source.run(sink))
    await sink.holds(len(pieces[0]))
    assert source.format == StreamFormat(media_type, header)
    await sink.holds(len(b"".join(pieces)))
    assert sink.data == b"".join(pieces)
    assert set(sink.chunks) <= {b"".join(pieces[a:b]) for a in range(4) for b in range(a, 4)}
    running.cancel()
    await asyncio.wait([running])


async def test_what_has_no_pieces_comes_as_it_is() -> None:
    sink = Recorder()
    await transcoding(Feed([b"sound", b" and more"]), "cat", media_type="audio/aac").run(sink)
    assert sink.data == b"sound and more"


@pytest.mark.parametrize("media_type", ["video/mp2t", "video/mp4", "video/webm", "multipart/x-mixed-replace"])
async def test_something_else_than_was_asked_for_is_a_failure(media_type: str) -> None:
    error = await failure_of(transcoding(Feed([b"junk" * 100_000], ends=False), "cat", media_type=media_type))
    assert f"no {media_type}" in error.reason
    assert not error.produced


@pytest.mark.parametrize(
    ("body", "reason", "produced"),
    [
        ("sys.exit(1)", "failed with status 1, before there was anything", False),
        ("os.kill(os.getpid(), signal.SIGKILL)", "ended by signal 9, before", False),
        ("sys.exit()", "ended before its input did, before", False),
        (ECHO_A_LITTLE + "os.kill(os.getpid(), signal.SIGSEGV)", "ended by signal 11", True),
        (ECHO_A_LITTLE + "sys.exit(255)", "failed with status 255", True),
        (ECHO_A_LITTLE, "ended before its input did", True),
        (ECHO_A_LITTLE + "os.close(1)\ntime.sleep(60)", "closed its output without an end", True),
    ],
)
async def test_how_it_failed_is_told_and_whether_anything_had_come(
    tmp_path: Path, body: str, reason: str, produced: bool
) -> None:
    sink = Recorder()
    error = await failure_of(transcoding(Endless(), program(tmp_path, body), grace=0.5), sink)
    assert reason in error.reason
    assert error.produced is produced
    assert len(sink.data) == (200_000 // PACKET * PACKET if produced else 0)


async def test_what_cannot_be_started_is_a_failure_before_anything_came() -> None:
    error = await failure_of(transcoding(Endless(), "/no/such/ffmpeg"))
    assert error.reason == "ffmpeg cannot be started: FileNotFoundError"
    assert not error.produced


@pytest.mark.parametrize("body", [SWALLOW, "time.sleep(60)", "os.kill(os.getpid(), signal.SIGSTOP)"])
async def test_what_writes_nothing_has_failed_after_its_time_to_start(tmp_path: Path, body: str) -> None:
    source = transcoding(Endless(pause=0.01), program(tmp_path, body), stall=60, start=0.3)
    error = await failure_of(source)
    assert error.reason.startswith("ffmpeg was silent for 0.3 s, before")
    assert not error.produced


@pytest.mark.parametrize("then", [SWALLOW, "os.kill(os.getpid(), signal.SIGSTOP)"])
async def test_what_writes_nothing_more_has_failed_after_the_stall_timeout(tmp_path: Path, then: str) -> None:
    source = transcoding(Endless(pause=0.01), program(tmp_path, ECHO_A_LITTLE + then), stall=0.3)
    error = await failure_of(source)
    assert error.reason == "ffmpeg was silent for 0.3 s"
    assert error.produced


async def test_what_is_given_nothing_may_be_silent(tmp_path: Path) -> None:
    sink = Recorder()
    feed = Feed([packets(0, 100)], ends=False)
    running = asyncio.create_task(transcoding(feed, program(tmp_path, ECHO), stall=0.15).run(sink))
    await sink.holds(100 * PACKET)
    done, _ = await asyncio.wait([running], timeout=0.6)
    assert not done
    running.cancel()
    await asyncio.wait([running])
    assert feed.left


async def test_its_last_words_are_in_the_failure_without_addresses(tmp_path: Path) -> None:
    body = 'os.write(2, b"http://u:s3cret@h/ refused\\nInvalid data\\n")\nsys.exit(1)'
    error = await failure_of(transcoding(Endless(), program(tmp_path, body)))
    assert error.said == "… refused | Invalid data"
    assert "refused" not in error.reason


async def test_a_flood_of_complaints_does_not_hold_up_the_stream(tmp_path: Path) -> None:
    sink, data = Recorder(), packets(0, 1000)
    body = 'for _ in range(100):\n    os.write(2, b"noise\\n" * 170_000)' + ECHO
    await transcoding(Feed([data]), program(tmp_path, body)).run(sink)
    assert sink.data == data


async def test_nobody_who_takes_nothing_makes_the_proxy_hold_it() -> None:
    sink, feed = Recorder(), Endless()
    sink.may_go_on.clear()
    running = asyncio.create_task(transcoding(feed, "cat").run(sink))
    await sink.holds(1)
    taken = -1
    while taken != feed.taken:
        taken = feed.taken
        await asyncio.sleep(0.2)
    assert feed.taken * 100 * PACKET < 2 << 20
    sink.may_go_on.set()
    await sink.holds(4 << 20)
    running.cancel()
    await asyncio.wait([running])
    assert [run.first for run in runs(sink.data)] == [0]


async def test_what_ends_by_no_request_is_killed(tmp_path: Path) -> None:
    sink = Recorder()
    body = "signal.signal(signal.SIGTERM, signal.SIG_IGN)" + ECHO_A_LITTLE + "time.sleep(60)"
    running = asyncio.create_task(transcoding(Endless(), program(tmp_path, body), grace=0.2).run(sink))
    await sink.holds(100_000)
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    assert children() == []


async def test_what_cannot_be_joined_starts_nothing() -> None:
    class Shut(Feed):
        @asynccontextmanager
        async def _open(self) -> AsyncIterator[Feed]:
            raise UpstreamStalled("news", "the upstream was silent")
            yield self

    error = await end_of(transcoding(Shut([]), "/no/such/ffmpeg"))
    assert (error.label, type(error)) == ("news", UpstreamStalled)


async def test_what_reads_an_address_by_itself_needs_no_input(tmp_path: Path) -> None:
    (tmp_path / "clip.ts").write_bytes(packets(0, 1000))
    sink = Recorder()
    await transcoding(None, "cat", str(tmp_path / "clip.ts")).run(sink)
    assert sink.data == packets(0, 1000)
    assert isinstance(await end_of(transcoding(None, "sleep", "60", start=0.2)), UpstreamStalled)
    assert (await failure_of(transcoding(None, "false"))).reason.startswith("ffmpeg failed with status 1")


async def test_what_finds_no_free_process_is_refused_before_anything_is_opened() -> None:
    slots, sink, refused = ProcessSlots(1), Recorder(), Endless()
    running = asyncio.create_task(transcoding(Endless(pause=0.01), "cat", slots=slots).run(sink))
    await sink.holds(1)
    error = await end_of(transcoding(refused, "cat", slots=slots))
    assert isinstance(error, TranscodingBusy)
    assert not refused.left
    running.cancel()
    await asyncio.wait([running])
    assert slots.held == 0


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs ffmpeg")
async def test_ffmpeg_says_why_it_refuses_its_input() -> None:
    command = ["ffmpeg", "-nostdin", "-v", "error", "-f", "matroska", "-i", "pipe:0", "-f", "mpegts", "pipe:1"]
    error = await failure_of(transcoding(Feed([b"junk" * 50_000] * 20, ends=False), *command))
    assert error.reason == "ffmpeg failed with status 1, before there was anything of the stream"
    assert "Invalid data" in error.said
