"""ffmpeg as a part of a stream: bytes in through its pipes, MPEG-TS out, and nothing else.

It is given neither files nor addresses, and is allowed to open none: what it reads comes from strangers.
"""

import shutil
from collections.abc import Sequence
from typing import Self

from streamproxy.config import RelayConfig
from streamproxy.errors import UpstreamBroken, UpstreamStalled
from streamproxy.formats.mpegts import NotTransportStreamError, Packetizer
from streamproxy.model import Sink
from streamproxy.sources.chunker import Chunker
from streamproxy.sources.deadlines import Deadlines
from streamproxy.sources.pipes import Pipe
from streamproxy.sources.process import GRACE, NotStartedError, Process


def find_ffmpeg(program: str) -> str | None:
    """Find it: a path, or a name that is looked for on $PATH. None if there is nothing that can be run."""
    return shutil.which(program)


class Ffmpeg(Process):
    """One run of ffmpeg, whose output is MPEG-TS."""

    def __init__(
        self, program: str, arguments: Sequence[str], inputs: Sequence[Pipe], label: str, *, grace: float = GRACE
    ) -> None:
        """Prepare, without starting anything.

        Args:
            program: Path of the program.
            arguments: What it is told. Its inputs are the names of pipes, its output is `pipe:1`.
            inputs: What it reads.
            label: The name of the upstream.
            grace: Seconds that it has to end when it is asked to.
        """
        command = [program, "-nostdin", "-hide_banner", "-nostats", "-loglevel", "error", *arguments]
        super().__init__(command, label, inputs=inputs, grace=grace)
        self._label = label

    async def __aenter__(self) -> Self:
        """Start it.

        Raises:
            UpstreamBroken: It cannot be started.
        """
        try:
            return await super().__aenter__()
        except NotStartedError as error:
            raise UpstreamBroken(self._label, str(error)) from None

    async def relay(self, sink: Sink, relay: RelayConfig) -> None:
        """Pass on what it writes until it has ended.

        Args:
            sink: Gets whole packets, in chunks.
            relay: Chunk size, chunk delay and stall timeout.

        Raises:
            UpstreamBroken: It failed, or wrote no transport stream.
            UpstreamStalled: It wrote nothing for the stall timeout, though there was something for it to work on.
        """
        packets = Packetizer()
        stall = relay.stall_timeout
        try:
            with Chunker(sink, relay, Deadlines) as chunker:
                while data := await self.read(2 * relay.chunk_size, stall):
                    chunker.add(packets.feed(data))
                    await sink.drain()
        except NotTransportStreamError:
            raise UpstreamBroken(self._label, "ffmpeg wrote something that is no MPEG-TS") from None
        except TimeoutError:
            raise UpstreamStalled(self._label, f"ffmpeg was silent for {stall:g} s") from None
        if reason := await self.ended():
            self.complain(reason)
            raise UpstreamBroken(self._label, reason)
