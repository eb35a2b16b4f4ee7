"""Small streams of containers that are no transport stream."""


def box(kind: bytes, body: bytes = b"") -> bytes:
    """Make a box of MP4."""
    return (8 + len(body)).to_bytes(4, "big") + kind + body


def fragments(count: int) -> tuple[bytes, list[bytes]]:
    """Make fragmented MP4: its header, and fragments."""
    header = box(b"ftyp", b"iso5") + box(b"moov", box(b"mvhd", bytes(100)))
    return header, [box(b"moof", bytes(50)) + box(b"mdat", bytes([number]) * 500) for number in range(count)]


def element(number: int, body: bytes = b"", *, unknown: bool = False) -> bytes:
    """Make an element of EBML, with a size of 8 bytes."""
    size = b"\x01" + (b"\xff" * 7 if unknown else len(body).to_bytes(7, "big"))
    return number.to_bytes((number.bit_length() + 7) // 8, "big") + size + body


def block(track: int, *, key: bool) -> bytes:
    """Make a simple block of a track."""
    return element(0xA3, bytes([0x80 | track, 0, 0, 0x80 if key else 0]) + bytes(100))


def matroska_header(*tracks: int) -> bytes:
    """Make what stands before the first cluster.

    Args:
        tracks: Type of each track; 1 is video, 2 is audio. They are numbered from 1.
    """
    entries = b"".join(
        element(0xAE, element(0xD7, bytes([number])) + element(0x83, bytes([kind])))
        for number, kind in enumerate(tracks, 1)
    )
    segment = element(0x18538067, unknown=True)
    return element(0x1A45DFA3, element(0x4282, b"webm")) + segment + element(0x1549A966) + element(0x1654AE6B, entries)


def cluster(*blocks: bytes, unknown: bool = False) -> bytes:
    """Make a cluster."""
    return element(0x1F43B675, element(0xE7, b"\0") + b"".join(blocks), unknown=unknown) + (
        element(0xE7, b"\0") + b"".join(blocks) if unknown else b""
    )


def clusters(count: int) -> tuple[bytes, list[bytes]]:
    """Make WebM: its header, and clusters that begin with key frames."""
    one = cluster(block(2, key=True), block(1, key=True), block(1, key=False))
    return matroska_header(1, 2), [one] * count


def part(picture: bytes, *, boundary: bytes = b"frame") -> bytes:
    """Make a picture of those that replace each other, with the boundary behind it."""
    fields = b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(picture)
    return fields + picture + b"\r\n--" + boundary + b"\r\n"


def parts(count: int) -> tuple[bytes, list[bytes]]:
    """Make pictures that replace each other: the first boundary, and the pictures."""
    return b"--frame\r\n", [part(bytes([number]) * 300) for number in range(count)]
