"""URLs as text: onto the wire byte for byte, into logs and lists without what is secret in them.

Providers sign their URLs and compare them as bytes, so nothing here quotes again what a URL already holds: `%2b`, `:80`
and `/b/../` stay as they are. Accounts are told by userinfo, by query parameters such as `username=` and `token=`, and
by the paths of the Xtream interface (`/live/USER/PASSWORD/ID.ts`, `/USER/PASSWORD/ID`).
"""

import re
from contextlib import suppress
from ipaddress import AddressValueError, IPv6Address
from typing import NamedTuple
from urllib.parse import quote, unquote


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


CREDENTIALS = _words("""
    access_token api_key apikey auth auth_token hash hdnea hdnts hdntl jwt key login mac nimblesessionid pass passwd
    password play_token pwd secret session session_id sessionid sid sig sign signature ticket token user username usr
    wmsauthsign
""")
"""Names, in lower case, of query parameters that open somebody's account."""

_VOLATILE = CREDENTIALS | _words("""
    e exp expire expires expiry jsessionid key-pair-id md5 nonce policy st timestamp validfrom validminutes validto
""")
_NAMES_A_CHANNEL = _words("ch channel channel_id channelid file id name play stream stream_id streamid url")
_LONG_AND_RANDOM = re.compile(r"(?=[^0-9]*[0-9])(?=[^A-Za-z]*[A-Za-z])[A-Za-z0-9+/=_.~%-]{32,}")

_STRUCTURAL = _words("""
    api assets auto cdn ch channel channels content dash false fhd film films hd hls http https index iptv kids live
    media movie movies mpegts music news none null out play playlist proxy radio rtp sd series sport sports static
    stream streaming streams timeshift true tv udp uhd video videos vod
""")
_SHORTEST_SECRET = 4

_COMPONENTS = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)
_ABSOLUTE = re.compile(r"(https?)://([^/?#]*)([^#]*)", re.IGNORECASE)
_ORDINARY = re.compile(r"[Hh][Tt][Tt][Pp][Ss]?://[A-Za-z0-9._-]+(?::[1-9][0-9]{0,3})?(?:[/?#]|\Z)")
_LOCATION = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(:[0-9]*)?")
_HOST = re.compile(r"[A-Za-z0-9._-]+")
_LONGEST_HOST = 255
_ILLEGAL = re.compile(r"[^!#-;=?-\[\]_a-z|~]+")

_ACCOUNTS = (
    re.compile(r"/(live|movie|series)/([^/]+)/([^/]+)/([0-9]+)(?:\.[A-Za-z0-9]+)?\Z", re.IGNORECASE),
    re.compile(r"/(timeshift)/([^/]+)/([^/]+)/([^/]+/[^/]+/[0-9]+)(?:\.[A-Za-z0-9]+)?\Z", re.IGNORECASE),
    re.compile(r"\A()/([^/]+)/([^/]+)/([0-9]+)(?:\.[A-Za-z0-9]+)?\Z"),
)

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_UNFIT_FOR_A_HEADER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LONGEST_HEADER_VALUE = 8000
_OURS_TO_DECIDE = _words("""
    accept-encoding connection content-encoding content-length expect host http2-settings keep-alive proxy-authenticate
    proxy-authorization proxy-connection range te trailer transfer-encoding upgrade
""")
_OPTIONS_OF_KODI = _words("""
    acceptencoding active-remote auth connection-timeout customrequest encoding failonerror noshout postdata
    redirect-limit seekable sslcipherlist verifypeer
""")
_HEADERS_OF_ONE_WORD = _words("accept authorization cookie dnt host origin range referer referrer via")
_OPTION = re.compile(r"\|([!#$%&'*+.^_`~0-9A-Za-z-]{1,64})=")

_USERINFO = re.compile(r"//[^/?#\s\"'<>@]*@")
_NAMED = re.compile(r"[^A-Za-z0-9_-]([A-Za-z_]{3,16})=")
_BEHIND_THE_SCHEME = re.compile(
    r"://(?:[^\s/?#@]*@)?((?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?![^\s/?#\"'<>),;…]))?(\S*)"
)
_PAIR = re.compile(r"(?<![A-Za-z0-9_-])([A-Za-z0-9_-]{1,32})=[^\s&]+")
_ACCOUNT_WITHOUT_A_HOST = re.compile(r"/(live|movie|series|timeshift)/[^/\s]+/[^/\s]+/", re.IGNORECASE)

_PREFIX_OF_STREAMLINK = re.compile(r"(?:hlsvariant|hls|httpstream)://", re.IGNORECASE)
_PARAMETER_OF_STREAMLINK = re.compile(r"\s[A-Za-z_][A-Za-z0-9_-]{0,63}=")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,31}://")


def wire(url: str) -> str:
    """Make a URL fit for a request line.

    Args:
        url: An absolute http or https URL, as somebody wrote it.

    Returns:
        ASCII only: what RFC 3986 forbids is percent-encoded as UTF-8 (surrogates that stand for bytes, as these bytes),
        a host in another script is written as IDNA, the fragment is dropped. Every other character stays as it is.

    Raises:
        ValueError: It is no absolute http(s) URL, has no usable host, or a port out of range. The text hides the URL.
    """
    absolute = _ABSOLUTE.match(url)
    if not absolute:
        raise ValueError("not an absolute http or https URL")
    scheme, authority, rest = absolute.groups()
    # Some read a backslash as a slash, and so see another host than we do.
    if "\\" in authority:
        raise ValueError("a backslash in front of the path")
    userinfo, at, location = authority.rpartition("@")
    return f"{scheme}://{_escaped(userinfo).replace('@', '%40')}{at}{_host_and_port(location)}{_escaped(rest)}"


def is_http(url: str) -> bool:
    """Tell whether this is a URL that `wire` takes."""
    if _ORDINARY.match(url):
        return True
    try:
        wire(url)
    except ValueError:
        return False
    return True


def _host_and_port(location: str) -> str:
    match = _LOCATION.fullmatch(location)
    if not match:
        raise ValueError("not a host and port")
    host, port = match[1], match[2] or ""
    if len(port) > 1 and not 0 < int(port[1:]) < 65536:
        raise ValueError("a port out of range")
    return _host(host) + port


def _host(host: str) -> str:
    if host.startswith("["):
        try:
            address = IPv6Address(host[1:-1])
        except AddressValueError:
            raise ValueError("not an IPv6 address") from None
        if address.scope_id is not None:  # a zone names a link of this machine, which is not for a provider to choose
            raise ValueError("an IPv6 address with a zone")
        return host
    if not host.isascii() and len(host) <= _LONGEST_HOST:
        with suppress(UnicodeError):
            host = host.encode("idna").decode("ascii")
    if not _HOST.fullmatch(host):
        raise ValueError("not a host name")
    return host


def _escaped(text: str) -> str:
    return _ILLEGAL.sub(_percent_encoded, text)


def _percent_encoded(illegal: re.Match[str]) -> str:
    try:
        # HTTP libraries put the bytes of a header that is no UTF-8 into surrogates: the server means those bytes.
        return quote(illegal[0], errors="surrogateescape")
    except UnicodeEncodeError:
        return quote(illegal[0], errors="surrogatepass")


class _Components(NamedTuple):
    scheme: str | None
    authority: str | None
    path: str
    query: str | None
    fragment: str | None


def _components(url: str) -> _Components:
    match = _COMPONENTS.fullmatch(url)
    assert match is not None  # each part may be missing, so any text matches
    return _Components(*match.groups())


def join(base: str, reference: str) -> str:
    """Resolve a reference: a redirect's `Location`, or a relative line of a list.

    As RFC 3986, 5.2 says, without touching a byte that need not be touched: dot segments are removed only where a path
    is merged or replaced, never from a reference with a scheme or host of its own.
    """
    scheme, authority, path, query, fragment = _components(reference)
    if scheme is not None:
        return reference
    origin = _components(base)
    if authority is None:
        authority = origin.authority
        if not path:
            path = origin.path
            query = origin.query if query is None else query
        elif path.startswith("/"):
            path = _without_dots(path)
        else:
            path = _without_dots(f"{origin.path.rpartition('/')[0]}/{path}")
    before = (f"{origin.scheme}:" if origin.scheme is not None else "") + (
        f"//{authority}" if authority is not None else ""
    )
    return before + path + (f"?{query}" if query is not None else "") + (f"#{fragment}" if fragment is not None else "")


def _without_dots(path: str) -> str:
    if "/." not in path:
        return path
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in {".", ".."}:
        kept.append("")
    return "/" + "/".join(kept)


def host(url: str) -> str:
    """Name the host of a URL in lower case, without port and userinfo; empty where there is none."""
    location = (_components(url).authority or "").rpartition("@")[2]
    match = _LOCATION.match(location)
    return match[1].lower() if match else ""


def split_options(line: str) -> tuple[str, dict[str, str]]:
    """Take `URL|User-Agent=...&Referer=...`, as Kodi has it, apart.

    Returns:
        The URL as it is written, which is how the line begins, and the request headers behind it, percent-decoded. A
        bar that no header follows belongs to the URL. What is no header fit to be sent (`is_header`) is left out.
    """
    bar = line.find("|")
    while bar >= 0:
        option = _OPTION.match(line, bar)
        if option and _is_option(option[1].lower()):
            return line[:bar].rstrip(), dict(header_pairs(line[bar + 1 :].replace("|", "&")))
        bar = line.find("|", bar + 1)
    return line, {}


def _is_option(name: str) -> bool:
    return "-" in name or name in _HEADERS_OF_ONE_WORD or name in _OPTIONS_OF_KODI


def header_pairs(text: str) -> list[tuple[str, str]]:
    """Read `Name=value&Name=value`, values percent-decoded; what is no header fit to be sent is left out."""
    pairs = []
    for piece in text.split("&"):
        name, _, value = piece.partition("=")
        name, value = name.strip(), unquote(value).strip(" \t")
        if name.lower() not in _OPTIONS_OF_KODI and is_header(name, value):
            pairs.append((name, value))
    return pairs


def is_header(name: str, value: str) -> bool:
    """Tell whether a list may have this request header sent.

    It may not where the name is no token, where the value is empty, longer than 8,000 characters or holds a control
    character, and where the header is about the connection or the message, which are ours to decide (`Host`, ...).
    """
    return (
        _HEADER_NAME.fullmatch(name) is not None
        and name.lower() not in _OURS_TO_DECIDE
        and 0 < len(value) <= _LONGEST_HEADER_VALUE
        and _UNFIT_FOR_A_HEADER.search(value) is None
    )


def plain(url: str) -> str:
    """Reduce an address as StreamPipe and streamlink take it to the URL in it.

    The prefixes `hls://`, `hlsvariant://` and `httpstream://` are cut off, whether or not a URL with its own scheme
    follows (without one it is http), and so are the parameters behind it (`... name=best start_offset=30`).
    """
    parameter = _PARAMETER_OF_STREAMLINK.search(url)
    if parameter:
        url = url[: parameter.start()].rstrip()
    prefix = _PREFIX_OF_STREAMLINK.match(url)
    if not prefix:
        return url
    url = url[prefix.end() :]
    return url if _SCHEME.match(url) else f"http://{url}"


class _Account(NamedTuple):
    kind: str
    user: str
    password: str
    stream: str


def _account(path: str) -> _Account | None:
    """Recognise the path of an Xtream account; `kind` is empty for `/USER/PASSWORD/ID`."""
    for pattern in _ACCOUNTS:
        match = pattern.search(path)
        if match:
            account = _Account(match[1].lower(), *match.group(2, 3, 4))
            break
    else:
        return None
    # /stream/bbc/7 looks like an account too: without a word in front, a segment that says what it is makes it none.
    if not account.kind and not _STRUCTURAL.isdisjoint((account.user.lower(), account.password.lower())):
        return None
    return account


def _parameters(query: str | None) -> list[tuple[str, str]]:
    return [(name, value) for name, _, value in (pair.partition("=") for pair in (query or "").split("&"))]


def identity(url: str) -> str:
    """Reduce a URL to what stays when the provider changes host, account or token.

    Returns:
        Path and query without credentials, tokens and what is long and random; of an Xtream path the number of the
        stream, with its kind in front where that is not live. It only serves to tell apart entries that look alike: it
        may be empty, and two URLs may share one.
    """
    _, _, path, query, _ = _components(url)
    account = _account(path)
    if account:
        path = account.stream if account.kind in {"", "live"} else f"{account.kind}/{account.stream}"
    kept = "&".join(f"{name}={value}" for name, value in _parameters(query) if name and _lasts(name.lower(), value))
    return f"{path}?{kept}" if kept else path


def _lasts(name: str, value: str) -> bool:
    if name in _NAMES_A_CHANNEL:
        return True
    return name not in _VOLATILE and not _LONG_AND_RANDOM.fullmatch(value)


def secrets_of(url: str) -> frozenset[str]:
    """Find the strings in a URL that open an account, as they are written and percent-decoded.

    Strings of fewer than four characters and words that only give a path its structure (`live`, `movie`, ...) are left
    out: they would be found everywhere.
    """
    _, authority, path, query, _ = _components(url)
    found = [value for name, value in _parameters(query) if name.lower() in CREDENTIALS] if query else []
    if authority and "@" in authority:
        found += authority.rpartition("@")[0].split(":", 1)
    account = _account(path)
    if account:
        found += (account.user, account.password)
    return frozenset(filter(_is_secret, {*found, *map(unquote, found)}))


def _is_secret(text: str) -> bool:
    return len(text) >= _SHORTEST_SECRET and text.lower() not in _STRUCTURAL


def carries_credentials(text: str) -> bool:
    """Tell whether a text holds a URL with userinfo, or gives a credential by name (`password=...`), encoded or not."""
    return _shows_credentials(text) or ("%" in text and _shows_credentials(unquote(text)))


def _shows_credentials(text: str) -> bool:
    if "@" in text and _USERINFO.search(text):
        return True
    return not CREDENTIALS.isdisjoint(map(str.lower, _NAMED.findall(f" {text}")))


def last_segment(url: str) -> str:
    """Name a URL by its last path segment, decoded and without extension; empty where that shows a secret."""
    name = unquote(_components(url).path.rpartition("/")[2])
    stem, dot, _ = name.rpartition(".")
    name = stem if dot else name
    if not name.isprintable() or _LONG_AND_RANDOM.fullmatch(name) or any(secret in name for secret in secrets_of(url)):
        return ""
    return name


def redact(text: str) -> str:
    """Mask what may be secret in a text that holds URLs: the last net below a log line.

    Of every URL only scheme, host and port stay, and not even these where an `@` leaves it open which part is the host.
    Values of credentials (`password=...`) and Xtream paths without a host are masked too.
    """
    text = _BEHIND_THE_SCHEME.sub(_only_the_host, text)
    text = _PAIR.sub(lambda pair: f"{pair[1]}=…" if pair[1].lower() in CREDENTIALS else pair[0], text)
    return _ACCOUNT_WITHOUT_A_HOST.sub(r"/\1/…/…/", text)


def _only_the_host(match: re.Match[str]) -> str:
    location, rest = match.groups()
    if not location or "@" in rest:
        return "://…"
    return f"://{location}…" if rest else f"://{location}"
