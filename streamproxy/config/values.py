"""What a single value may be: each function takes what was written and returns what is meant.

All numbers arrive as text, since the file's reader guesses nothing; a number in Python is taken too. Messages complete
the sentence "server.port must be ...", and never quote the value, which may be a secret.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from pydantic_core import PydanticCustomError

from streamproxy.model import DEMO_URL

MAX_HEADER_SIZE = 4096
"""Characters of a header's value."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")  # RFC 9110, 5.6.2
_WHOLE = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"[+-]?(?:(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{0,17})?|\.[0-9]{1,17})(?:[eE][+-]?[0-9]{1,2})?")
# What names the peer or frames the message is the HTTP client's business (RFC 9110, 7.6.1; RFC 9112, 6.1).
_OWN_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_QUALITY = re.compile(r"best|worst|[0-9]{1,6}p|[0-9]{1,12}(?:\.[0-9]{1,6})?[km]?", re.IGNORECASE)
_SHORTEST_SECRET = 32
_STREAM_PREFIXES = ("hls://", "hlsvariant://", "httpstream://", "dash://")


def mistake(text: str) -> PydanticCustomError:
    """Return the error to raise for a value that is not what it must be; the text is shown to the user."""
    return PydanticCustomError("mistake", text)


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number within limits, both included, written in decimal without leading zeros."""

    minimum: int
    maximum: int
    unit: str = ""

    def __call__(self, value: object) -> int:
        """Read it.

        Raises:
            PydanticCustomError: It is no such number.
        """
        if isinstance(value, str) and _WHOLE.fullmatch(value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not self.minimum <= value <= self.maximum:
            number = f"a whole number of {self.unit}" if self.unit else "a whole number"
            raise mistake(f"must be {number} between {self.minimum} and {self.maximum}")
        return value


@dataclass(frozen=True, slots=True)
class Number:
    """A number within limits, both included; fractions are fine."""

    minimum: float
    maximum: float
    unit: str = ""

    def __call__(self, value: object) -> float:
        """Read it.

        Raises:
            PydanticCustomError: It is no such number.
        """
        if isinstance(value, str) and _NUMBER.fullmatch(value):
            value = float(value)
        if not isinstance(value, int | float) or isinstance(value, bool) or not self.minimum <= value <= self.maximum:
            number = f"a number of {self.unit}" if self.unit else "a number"
            raise mistake(f"must be {number} between {self.minimum:g} and {self.maximum:g}")
        return float(value)


@dataclass(frozen=True, slots=True)
class Seconds(Number):
    """A number of seconds within limits, both included; fractions are fine."""

    maximum: float = 86400
    unit: str = "seconds"


def lower_case(value: object) -> object:
    """Let a choice be written in any case."""
    return value.lower() if isinstance(value, str) else value


def truth(value: object) -> bool:
    """Accept true and false, and nothing that merely looks like it."""
    text = str(value).lower()
    if not isinstance(value, bool | str) or text not in ("true", "false"):
        raise mistake("must be true or false")
    return text == "true"


def quality(value: str) -> str:
    """Accept what tells variants of HLS apart."""
    if not _QUALITY.fullmatch(value):
        raise mistake("must be best, worst, a height such as 720p or bits per second such as 3000k")
    return value.lower()


def link_key(value: str) -> str:
    """Accept the key of HLS links."""
    if len(value) < _SHORTEST_SECRET:
        raise mistake(f"must be a secret of at least {_SHORTEST_SECRET} characters; 'openssl rand -hex 32' makes one")
    return value


def token(value: str) -> str:
    """Accept a secret that clients send in a header or an address."""
    if not re.fullmatch("[!-~]+", value):
        raise mistake("must be of visible ASCII characters without spaces; 'openssl rand -hex 32' makes a good one")
    return value


def as_text(value: object) -> object:
    """Write a number or boolean as text, as YAML would."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def one_line(value: str) -> str:
    """Refuse line breaks and control characters, which would break lists and logs apart."""
    if _CONTROL.search(value):
        raise mistake("must be one line of text without control characters")
    return value


def label(value: str) -> str:
    """Accept a name that people see: one line, not empty, no blanks around it."""
    if not value or value != value.strip() or len(value) > 200 or _CONTROL.search(value):
        raise mistake("must be one line of 1 to 200 characters without blanks around it")
    return value


def host(value: str) -> str:
    """Accept a host name or address to listen on, without the brackets of IPv6; empty is every IPv4 address."""
    value = value.removeprefix("[").removesuffix("]") or "0.0.0.0"  # noqa: S104 - as StreamPipe reads an empty host
    if not re.fullmatch(r"[A-Za-z0-9._:%-]{1,255}", value):
        raise mistake("must be a host name or an IP address, such as 0.0.0.0")
    return value


def root_path(value: str) -> str:
    """Normalise a path prefix to '' or '/x', without a slash at its end."""
    path = "/" + value.strip("/")
    if path == "/":
        return ""
    if not re.fullmatch(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)+", path):
        raise mistake("must be a path such as /iptv, of letters, digits and '-', '.', '_', '~'")
    return path


def public_url(value: str) -> str:
    """Normalise the address under which viewers reach this proxy: no slash at its end."""
    parts = _http_parts(value)
    if parts is None or not re.fullmatch(r"[!-~]+", value) or "@" in parts.netloc or parts.query or parts.fragment:
        raise mistake("must be an http:// or https:// address without user, query and fragment")
    return value.rstrip("/?#")


def network(value: object) -> IPv4Network | IPv6Network:
    """Read an IP network; a bare address is a network of one."""
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    try:
        return ip_network(str(value))
    except ValueError:
        raise mistake("must be an IP address or a network without host bits, such as 10.0.0.0/8") from None


def header_name(value: str) -> str:
    """Accept a header's name unless the HTTP client writes that header itself."""
    if not _TOKEN.fullmatch(value):
        raise mistake("must be the name of an HTTP header, such as Referer")
    if value.lower() in _OWN_HEADERS:
        raise mistake("must not be a header that names the server or frames the message")
    return value


def header_value(value: str) -> str:
    """Accept a header's value: printable ASCII, so that no line break can hide in any encoding."""
    if value != value.strip() or len(value) > MAX_HEADER_SIZE or not re.fullmatch(r"[ -~]+", value):
        raise mistake(f"must be 1 to {MAX_HEADER_SIZE} printable ASCII characters without blanks around them")
    return value


def encoding(value: str) -> str:
    """Accept the name of a text encoding that Python knows."""
    try:
        if re.fullmatch(r"[A-Za-z0-9_.-]{1,40}", value):
            b"a".decode(value)  # empty bytes would be decoded without looking the name up
            return value
    except LookupError:
        pass
    except UnicodeError:
        return value  # a known one, in which a single byte is not text
    raise mistake("must be the name of a text encoding, such as cp1252 or iso-8859-9")


def file_path(value: str, folder: Path) -> Path:
    """Read a path; a relative one starts at the folder, and '~' is the home folder."""
    if not value or _CONTROL.search(value):
        raise mistake("must be a path")
    try:
        return folder / Path(value).expanduser()
    except RuntimeError:
        raise mistake("must not start with '~' where there is no home folder") from None


def playlist_address(value: str, folder: Path) -> str:
    """Accept an http(s) address, byte for byte, or the path of a file, relative to the folder."""
    value = value.strip()
    if not value or _CONTROL.search(value) or (is_address(value) and _http_parts(value) is None):
        raise mistake("must be a complete http:// or https:// address, or the path of a file")
    return value if is_address(value) else str(file_path(value, folder))


def stream_address(value: str) -> str | None:
    """Accept an http(s) address, also behind a prefix of StreamPipe such as hls://, or the embedded channel's.

    Empty is none.
    """
    value = value.strip()
    if value in ("", DEMO_URL):
        return value or None
    bare = value
    for prefix in _STREAM_PREFIXES:
        if value.lower().startswith(prefix):
            bare = value[len(prefix) :]
            bare = bare if is_address(bare) else f"https://{bare}"
    if _CONTROL.search(value) or _http_parts(bare) is None:
        raise mistake("must be a complete http:// or https:// address")
    return value


def service_address(value: str) -> str:
    """Accept the http(s) address of a service that is asked."""
    value = value.strip()
    if _CONTROL.search(value) or _http_parts(value) is None:
        raise mistake("must be a complete http:// or https:// address")
    return value


def backup_address(value: str) -> str:
    """Accept what `stream_address` does, but not none."""
    address = stream_address(value)
    if address is None:
        raise mistake("must be a complete http:// or https:// address")
    return address


def is_address(text: str) -> bool:
    """Tell an address (it begins with a scheme) from the path of a file."""
    return _SCHEME.match(text) is not None


def host_and_path(address: str) -> str:
    """Return `host:port/path` of an http(s) address: what stays when tokens and credentials change."""
    parts = urlsplit(address)
    port = parts.port or (443 if parts.scheme.lower() == "https" else 80)
    return f"{parts.hostname}:{port}{parts.path}"


def _http_parts(address: str) -> SplitResult | None:
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number, brackets without an address, letters that fold to '/'
        return None
    return parts if usable else None
