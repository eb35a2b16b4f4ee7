"""Sources that take one of their provider's connections for as long as they run."""

from streamproxy.model import Sink, Source, StreamFormat
from streamproxy.sources.accounts import Account


class AdmittedSource:
    """Runs a source while it holds a connection of the provider's account.

    The connection is given back when the source is shut, and not before: a provider never sees one too many.
    """

    def __init__(self, source: Source, account: Account, *, holder: str, within: float) -> None:
        """Prepare.

        Args:
            source: What to run.
            account: Whose connection it takes.
            holder: The channel it is for.
            within: Seconds to wait for a connection.
        """
        self._source = source
        self._account = account
        self._holder = holder
        self._within = within

    @property
    def format(self) -> StreamFormat:
        """How the stream is packed."""
        return self._source.format

    async def run(self, sink: Sink) -> None:
        """Wait for a connection; then see `Source.run`.

        Raises:
            UpstreamBusy: None became free in time.
            UpstreamError: The source failed.
        """
        async with self._account.slot(self._holder, within=self._within):
            await self._source.run(sink)
