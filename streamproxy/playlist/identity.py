"""Channel ids that are stable for ever: players store them, and Jellyfin makes its own from them."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from streamproxy.formats import urls


class Identity(NamedTuple):
    """What an entry of a list is known by.

    Attributes:
        playlist: Name of the list.
        tvg_id: Its guide id; empty for none.
        name: Its title.
        url: Its address, of which only what identifies a channel counts: neither host nor credentials nor tokens.
    """

    playlist: str
    tvg_id: str
    name: str
    url: str


def channel_ids(entries: Iterable[Identity]) -> Iterator[str]:
    """Yield the id of each entry: 16 hex digits of a hash over list, guide id and name.

    Where several entries share these, what identifies the channel in their URLs is added to each of them; so neither
    order nor credentials matter. Only of entries that do not differ even there, later ones are numbered.
    """
    entries = list(entries)
    shared = Counter(entry[:3] for entry in entries)
    seen: Counter[str] = Counter()
    for entry in entries:
        parts = entry[:3]
        known = _digest(*parts) if shared[parts] == 1 else _digest(*parts, urls.identity(entry.url))
        seen[known] += 1
        yield known if seen[known] == 1 else _digest(known, str(seen[known]))


def _digest(*parts: str) -> str:
    text = "\x1f".join(parts).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=8).hexdigest()
