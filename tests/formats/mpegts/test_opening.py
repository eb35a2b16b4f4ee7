"""Whoever starts in the middle of a stream gets something that is whole."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamproxy.formats.mpegts import Entry, Indexer, opening
from streamproxy.formats.mpegts.psi import Program
from tests.formats.mpegts.made import AAC, AUDIO, H264, IDR, NO_IDR, PACKET, PMT, VIDEO, Mux, pes, pids, program
from tests.helpers.media import transport_stream
from tests.helpers.tscheck import check

TEXT = 0x102
CLOCK = 0x1F0
TELEVISION = program((VIDEO, H264), (AUDIO, AAC), (TEXT, 0x06))
CHUNK = 50 * PACKET

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs ffmpeg")


def indexed(stream: bytes) -> tuple[Program, list[Entry], list[int]]:
    """Return the program, the entries, and up to where it was complete chunk by chunk."""
    indexer = Indexer()
    entries: list[Entry] = []
    complete = []
    for at in range(0, len(stream), CHUNK):
        found = indexer.feed(stream[at : at + CHUNK])
        entries += found.entries
        complete.append(found.complete)
    assert indexer.program is not None
    return indexer.program, entries, complete


def chunks(stream: bytes, start: int) -> list[bytes]:
    """Cut a stream as it was fed, from an entry on."""
    first = start // CHUNK * CHUNK + CHUNK
    return [stream[start:first], *(stream[at : at + CHUNK] for at in range(first, len(stream), CHUNK))]


def complaints(stream: bytes) -> list[str]:
    """Let ffmpeg decode all of it, and return what it has to say."""
    command = "ffmpeg -v warning -nostdin -threads 1 -f mpegts -i pipe: -map 0 -fps_mode passthrough"
    command += " -enc_time_base 1/90000 -f null -"
    result = subprocess.run(command.split(), input=stream, capture_output=True, check=True, timeout=60)
    return result.stderr.decode().splitlines()


MEDIA: Mapping[str, Mapping[str, Any]] = {
    "h264 with B pictures": {"seconds": 22, "group": 250, "b_frames": 2, "audio": "mp2"},
    "hevc": {"video": "libx265", "b_frames": 2},
    "mpeg2 interlaced": {"video": "mpeg2video", "group": 12, "b_frames": 2, "encoder": ("-flags", "+ilme+ildct")},
    "h264 interlaced, in slices": {"b_frames": 2, "encoder": ("-flags", "+ilme+ildct", "-x264-params", "slices=4")},
    "two languages": {"b_frames": 2, "tracks": (48_000, 44_100)},
    "sound alone": {"video": None},
}


@needs_ffmpeg
@pytest.mark.parametrize("name", MEDIA)
def test_joining_at_the_newest_entry_gives_a_stream_without_faults(name: str) -> None:
    stream = transport_stream(**MEDIA[name])
    program, entries, _ = indexed(stream)
    joined = b"".join(opening(entries[-1].tables, chunks(stream, entries[-1].position), program))

    assert len(joined) > 10 * PACKET
    assert check(joined).faults == []
    assert complaints(joined) == []


@needs_ffmpeg
def test_joining_within_a_group_of_pictures_begins_at_the_entry_before() -> None:
    stream = transport_stream(**MEDIA["h264 with B pictures"])
    program, entries, _ = indexed(stream)
    first, second = entries[1].position, entries[2].position
    middle = first + int((second - first) * 0.37) // PACKET * PACKET
    assert len(complaints(stream[middle:])) > 20

    newest = [entry for entry in entries if entry.position <= middle][-1]
    joined = b"".join(opening(newest.tables, chunks(stream, newest.position), program))

    assert newest.position == first
    assert check(joined).faults == []
    assert complaints(joined) == []


@needs_ffmpeg
@pytest.mark.parametrize(
    "name", ["h264 with B pictures", "h264 interlaced, in slices", "mpeg2 interlaced", "two languages"]
)
def test_whoever_was_lapped_goes_on_at_an_entry_without_faults(name: str) -> None:
    stream = transport_stream(**MEDIA[name])
    program, entries, complete = indexed(stream)
    stop = max(position for position in complete if position < entries[-1].position - 2 * CHUNK)
    rest = chunks(stream, entries[-1].position)

    resumed = stream[:stop] + b"".join(opening(entries[-1].tables, rest, program, resumed=True))
    silent = stream[:stop] + b"".join(opening(entries[-1].tables, rest, program))

    assert check(silent).faults != []
    assert check(resumed).faults == []
    assert complaints(resumed) == []


def mixed(mux: Mux) -> list[bytes]:
    """Make what follows an entry: the ends of what began before it first."""
    return [
        mux.unit(VIDEO, pes(IDR + bytes(300))) + mux.unit(AUDIO, bytes(400), start=False) + mux.bare(CLOCK, 0x10),
        mux.unit(TEXT, bytes(100), start=False) + mux.unit(VIDEO, pes(NO_IDR)) + mux.unit(AUDIO, pes(b"sound")),
        mux.unit(TEXT, bytes(100), start=False) + mux.unit(AUDIO, bytes(100), start=False),
        mux.unit(TEXT, pes(b"text")),
    ]


def test_what_began_before_the_entry_is_left_out() -> None:
    mux = Mux()
    tables = mux.tables(TELEVISION)
    pieces = mixed(mux)

    result = opening(tables, pieces, TELEVISION)

    assert [pids(piece) for piece in result] == [
        [0, PMT],
        [VIDEO, VIDEO, CLOCK],
        [VIDEO, AUDIO],
        [TEXT, AUDIO],
        [TEXT],
    ]


def test_once_sound_and_pictures_have_begun_chunks_are_passed_on_as_they_are() -> None:
    mux = Mux()
    tables = mux.tables(TELEVISION)
    pieces = mixed(mux)

    result = opening(tables, pieces, TELEVISION)

    assert result[3] is pieces[2]
    assert result[4] is pieces[3]


def test_a_chunk_of_which_nothing_is_left_out_is_the_same_object() -> None:
    mux = Mux()
    tables = mux.tables(TELEVISION)
    piece = mux.unit(VIDEO, pes(IDR)) + mux.unit(AUDIO, pes(b"sound"))

    assert opening(tables, [piece], TELEVISION)[1] is piece


def test_the_rest_of_a_table_that_began_before_the_entry_stays_for_its_counter() -> None:
    mux = Mux()
    tables = mux.tables(TELEVISION)
    rest = mux.unit(PMT, bytes(184), start=False)

    assert opening(tables, [mux.unit(VIDEO, pes(IDR)) + rest], TELEVISION)[1].endswith(rest)


def test_null_packets_stay_and_their_counters_do_not_matter() -> None:
    mux = Mux()
    tables = mux.tables(TELEVISION)
    piece = mux.unit(VIDEO, pes(IDR)) + mux.unit(0x1FFF, bytes(184), start=False)

    marks, _, passed = opening(tables, [piece], TELEVISION, resumed=True)

    assert passed is piece
    assert sorted(pids(marks)) == [0, VIDEO, PMT]


def test_jumps_are_announced_for_what_comes_within_a_mebibyte() -> None:
    mux = Mux()
    tables = mux.tables(TELEVISION)
    picture = mux.unit(VIDEO, pes(IDR + bytes(184 * 1000)))
    pieces = [mux.unit(AUDIO, pes(b"sound"))] + [picture] * 5 + [mux.unit(TEXT, pes(b"text"))]
    late = [*pieces[:-1], picture, *pieces[-1:]]

    assert TEXT in pids(opening(tables, pieces, TELEVISION, resumed=True)[0])
    assert TEXT not in pids(opening(tables, late, TELEVISION, resumed=True)[0])


def test_a_stream_of_all_pids_does_not_make_the_beginning_long() -> None:
    mux = Mux()
    tables = mux.tables(TELEVISION)
    pieces = [b"".join(mux.unit(pid, b"x") for pid in range(first, first + 100)) for first in range(0x20, 0x1F00, 100)]

    assert len(opening(tables, pieces, TELEVISION, resumed=True)[0]) < 400 * PACKET


@pytest.mark.parametrize(("size", "searched"), [(10, 8), (1500, 4)])
def test_sound_that_never_begins_is_not_looked_for_for_ever(size: int, searched: int) -> None:
    mux = Mux()
    tables = mux.tables(TELEVISION)
    remains = mux.unit(AUDIO, bytes(184), start=False)
    pieces = [mux.unit(VIDEO, pes(bytes(184 * size - 9))) + remains for _ in range(12)]

    result = opening(tables, pieces, TELEVISION)[1:]

    assert [AUDIO in pids(piece) for piece in result] == [False] * searched + [True] * (12 - searched)


def test_nothing_but_the_tables_is_there_before_the_first_chunk() -> None:
    tables = Mux().tables(TELEVISION)

    assert opening(tables, [], TELEVISION) == [tables]


def test_without_a_program_chunks_are_passed_on() -> None:
    piece = Mux().unit(AUDIO, bytes(184), start=False)

    assert opening(b"", [piece], None) == [b"", piece]


def shuffled(order: Sequence[int], mux: Mux) -> list[bytes]:
    return [
        mux.bare(CLOCK, 0x10) if kind == 0 else mux.unit((VIDEO, AUDIO, TEXT, 0)[kind % 4], bytes(184), start=kind > 4)
        for kind in order
    ]


orders = st.lists(st.integers(0, 8), min_size=1, max_size=40)


@given(orders, st.integers(0, 40), st.integers(1, 10))
@settings(deadline=None)
def test_no_counter_jumps_for_whoever_was_lapped(order: list[int], lost: int, size: int) -> None:
    mux = Mux()
    before = mux.tables(TELEVISION) + b"".join(shuffled(order, mux))
    shuffled(order * lost, mux)
    tables = mux.tables(TELEVISION)
    after = mux.unit(VIDEO, pes(IDR)) + b"".join(shuffled(order, mux))
    pieces = [after[at : at + size * PACKET] for at in range(0, len(after), size * PACKET)]

    resumed = opening(tables, pieces, TELEVISION, resumed=True)

    marks, rest = resumed[0], b"".join(resumed[1:])
    assert set(pids(marks)) == set(pids(rest))
    assert len(pids(marks)) == len(set(pids(marks)))
    assert continuity_faults(before + marks + rest) == 0


def continuity_faults(stream: bytes) -> int:
    """Count jumps of counters that no discontinuity_indicator announces (ISO/IEC 13818-1, 2.4.3.3)."""
    counters: dict[int, int] = {}
    faults = 0
    for at, pid in zip(range(0, len(stream), PACKET), pids(stream), strict=True):
        control = stream[at + 3]
        announced = control & 0x20 and stream[at + 4] and stream[at + 5] & 0x80
        expected = (counters.get(pid, control - (control >> 4 & 1)) + (control >> 4 & 1)) & 15
        faults += expected != control & 15 and not announced
        counters[pid] = control & 15
    return faults
