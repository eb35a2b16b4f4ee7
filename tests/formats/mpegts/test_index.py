"""Places to start at, and to cut at, are found in whatever comes, however it is cut into pieces."""

import shutil
import subprocess
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamproxy.formats.mpegts import Entry, Indexer
from streamproxy.formats.mpegts.index import find_mark
from streamproxy.formats.mpegts.psi import Program, write_pat, write_pmt
from streamproxy.formats.mpegts.sections import crc32
from tests.formats.mpegts.made import (
    AAC,
    AUDIO,
    H264,
    HEVC,
    IDR,
    MP2,
    NO_IDR,
    PACKET,
    PMT,
    VIDEO,
    Mux,
    pes,
    pids,
    program,
    without_marks,
)
from tests.helpers.media import transport_stream

TELEVISION = program((VIDEO, H264), (AUDIO, MP2))
RADIO = program((AUDIO, AAC))

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffprobe"), reason="needs ffmpeg and ffprobe")


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """Cut between packets, at places counted in packets."""
    edges = [0, *sorted(place % (len(data) // PACKET + 1) * PACKET for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def entries(pieces: Iterable[bytes]) -> list[Entry]:
    indexer = Indexer()
    return [entry for piece in pieces for entry in indexer.feed(piece).entries]


def positions(*pieces: bytes) -> list[int]:
    return [entry.position for entry in entries(pieces)]


def key_pictures(data: bytes) -> list[int]:
    """Ask ffprobe where key pictures begin."""
    command = "ffprobe -v error -f mpegts -select_streams v -show_entries packet=pos,flags -of csv=p=0 -"
    output = subprocess.run(command.split(), input=data, stdout=subprocess.PIPE, check=True, timeout=60).stdout
    packets = [line.split(",") for line in output.decode().split()]
    return [int(position) for position, flags, *_ in (packet for packet in packets if len(packet) > 1) if "K" in flags]


MEDIA: Mapping[str, Mapping[str, Any]] = {
    "h264 with B pictures, a key picture every 10 s": {"seconds": 22, "group": 250, "b_frames": 2, "audio": "mp2"},
    "h264 of open groups": {"group": 20, "b_frames": 2, "encoder": ("-x264-params", "open-gop=1:scenecut=0")},
    "h264 that never has a whole key picture": {"encoder": ("-x264-params", "intra-refresh=1:bframes=0")},
    "h264 interlaced, in slices": {"b_frames": 2, "encoder": ("-flags", "+ilme+ildct", "-x264-params", "slices=4")},
    "hevc": {"video": "libx265", "b_frames": 2},
    "mpeg2 interlaced": {"video": "mpeg2video", "group": 12, "b_frames": 2, "encoder": ("-flags", "+ilme+ildct")},
    "mpeg4": {"video": "mpeg4"},
}


@needs_ffmpeg
@pytest.mark.parametrize("name", MEDIA)
def test_entries_are_the_key_pictures_with_marks_and_without(name: str) -> None:
    stream = transport_stream(**MEDIA[name])
    unmarked = without_marks(stream)
    expected = key_pictures(stream)
    assert len(expected) >= 3
    assert unmarked != stream

    assert positions(stream) == expected
    assert positions(unmarked) == expected


@needs_ffmpeg
@pytest.mark.parametrize("audio", ["aac", "libmp3lame"])
def test_sound_alone_may_be_started_at_any_of_its_pes_packets(audio: str) -> None:
    stream = transport_stream(video=None, audio=audio)
    starts = [at for at in range(0, len(stream), PACKET) if stream[at + 1] & 0x40 and stream[at + 1] << 8 & 0x1F00 != 0]
    sound = [at for at in starts if stream[at + 1] & 0x1F == 1]

    assert len(sound) > 5
    assert positions(stream) == sound


@needs_ffmpeg
@given(places=st.lists(st.integers(0, 1000), max_size=20), marked=st.booleans())
@settings(deadline=None, max_examples=50)
def test_it_does_not_matter_how_a_stream_is_cut(places: list[int], marked: bool) -> None:
    stream = transport_stream(b_frames=2)
    stream = stream if marked else without_marks(stream)

    assert entries(cut(stream, places)) == entries([stream])


def television(mux: Mux, *pictures: bytes, flags: int = 0) -> bytes:
    return mux.tables(TELEVISION) + b"".join(mux.unit(VIDEO, pes(picture), flags=flags) for picture in pictures)


def test_an_entry_comes_with_the_tables_before_it_as_they_were_sent() -> None:
    mux = Mux()
    first = mux.tables(TELEVISION)
    pictures = mux.unit(VIDEO, pes(IDR)) + mux.unit(VIDEO, pes(NO_IDR))
    second = mux.tables(TELEVISION)
    stream = first + pictures + second + mux.unit(VIDEO, pes(IDR))

    assert entries([stream]) == [Entry(2 * PACKET, first), Entry(6 * PACKET, second)]


def test_there_is_no_entry_before_the_tables() -> None:
    mux = Mux()
    picture = mux.unit(VIDEO, pes(IDR), flags=0x40)
    pat, pmt = cut(mux.tables(TELEVISION), [1])

    assert positions(picture, pat, picture, pmt, picture) == [4 * PACKET]
    assert positions(picture, pmt, picture) == []


def test_marks_on_sound_are_no_entries_where_there_are_pictures() -> None:
    mux = Mux()

    assert positions(television(mux), mux.unit(AUDIO, pes(b"sound"), flags=0x40)) == []


@pytest.mark.parametrize(("flags", "found"), [(0x40, 1), (0, 0)])
def test_of_scrambled_pictures_only_marks_tell(flags: int, found: int) -> None:
    mux = Mux()

    assert len(positions(television(mux), mux.unit(VIDEO, pes(IDR), flags=flags, scrambled=True))) == found


def test_what_looks_like_a_mark_in_a_packet_without_flags_is_none() -> None:
    mux = Mux()
    packet = mux.unit(VIDEO, pes(NO_IDR + bytes(300)))[:PACKET]
    empty_field = packet[:3] + bytes((0x30,)) + b"\0" + b"\x40" * 183

    assert positions(television(mux), empty_field, packet[:4] + b"\x40" * 184) == []


@pytest.mark.parametrize("cuts", [[], [3], [4], [5], [3, 4, 5]])
@pytest.mark.parametrize(
    ("before", "picture", "found"),
    [(150, IDR, True), (350, IDR, True), (530, IDR, True), (800, IDR, False), (350, NO_IDR, False)],
)
def test_a_picture_is_read_on_for_up_to_four_packets(before: int, picture: bytes, cuts: list[int], found: bool) -> None:
    mux = Mux()
    content = b"\0\0\0\1\x0c" + b"x" * before + picture + b"x" * 500
    stream = television(mux, content) + mux.unit(AUDIO, pes(b"sound")) + mux.unit(VIDEO, pes(NO_IDR))

    assert positions(*cut(stream, cuts)) == [2 * PACKET] * found


def test_an_entry_that_is_told_late_stands_where_it_began_with_the_tables_of_then() -> None:
    mux = Mux()
    tables = mux.tables(TELEVISION)
    start, rest = cut(mux.unit(VIDEO, pes(b"\0\0\0\1\x0c" + b"x" * 160 + IDR)), [1])
    between = mux.unit(AUDIO, pes(b"sound")) + mux.tables(TELEVISION)
    indexer = Indexer()

    assert indexer.feed(tables + start).entries == ()
    assert indexer.feed(between).entries == ()
    assert indexer.feed(rest).entries == (Entry(2 * PACKET, tables),)


def test_scrambled_packets_of_a_picture_tell_nothing() -> None:
    mux = Mux()
    start = mux.unit(VIDEO, pes(b"\0\0\0\1\x0c" + b"x" * 170)[:184])
    rest = mux.unit(VIDEO, IDR, start=False, scrambled=True)

    assert positions(television(mux), start, rest) == []


def test_a_picture_of_a_stream_that_is_gone_is_no_entry_behind_the_next() -> None:
    mux = Mux()
    start, rest = cut(mux.unit(VIDEO, pes(b"\0\0\0\1\x0c" + b"x" * 160 + IDR)), [1])
    other = mux.tables(program((0x200, H264), version=1)) + mux.unit(0x200, pes(IDR))

    assert positions(mux.tables(TELEVISION), start, other, rest) == [5 * PACKET]


def test_a_picture_is_not_read_on_in_the_next() -> None:
    mux = Mux()
    short = mux.unit(VIDEO, pes(b"\0\0\0\1\x0c"))

    assert positions(television(mux), short, mux.unit(VIDEO, b"\0\0\0\1" + IDR)) == []


def test_pictures_whose_pes_header_fills_the_first_packet_tell_with_the_second() -> None:
    mux = Mux()
    header = bytes((0, 0, 1, 0xE0, 0, 0, 0x80, 0, 200)) + b"\xff" * 200

    assert positions(television(mux), mux.unit(VIDEO, header + IDR)) == [2 * PACKET]


@pytest.mark.parametrize("size", [1, 5, 8, 9, 12])
def test_pictures_whose_pes_header_is_split_tell_with_the_second_packet(size: int) -> None:
    mux = Mux()
    picture = pes(IDR, 1)

    assert positions(
        television(mux), mux.unit(VIDEO, picture[:size]), mux.unit(VIDEO, picture[size:], start=False)
    ) == [2 * PACKET]


def test_a_new_version_of_the_program_is_followed() -> None:
    mux = Mux()
    first = television(mux, IDR)
    other = program((0x200, HEVC), (AUDIO, MP2), version=1)
    hevc_picture = b"\0\0\0\1\x26\x01picture"
    indexer = Indexer()
    indexer.feed(first)

    found = indexer.feed(mux.tables(other) + mux.unit(VIDEO, pes(IDR)) + mux.unit(0x200, pes(hevc_picture)))

    assert [entry.position for entry in found.entries] == [6 * PACKET]
    assert indexer.program == other


def test_a_table_for_later_is_not_followed() -> None:
    mux = Mux()
    stream = television(mux, IDR)
    section = bytearray(write_pmt(program((0x200, HEVC), version=1))[:-4])
    section[5] &= ~1
    later = bytes(section) + crc32(bytes(section)).to_bytes(4, "big")
    indexer = Indexer()
    indexer.feed(stream + mux.section(PMT, later))

    assert indexer.program == TELEVISION


def test_after_a_table_of_no_interest_the_tables_are_numbered_on() -> None:
    mux = Mux()
    tables = mux.tables(TELEVISION)
    indexer = Indexer()
    indexer.feed(tables)
    assert indexer.tables == tables

    indexer.feed(mux.section(PMT, write_pmt(program((0x200, HEVC), number=7))))

    numbered = bytearray(tables)
    numbered[PACKET + 3] = 0x11
    assert indexer.tables == numbered


@pytest.mark.parametrize("cuts", [[], [1], [2], [3], [1, 2, 3, 4]])
def test_tables_may_take_several_packets(cuts: list[int]) -> None:
    big = Program(1, PMT, VIDEO, TELEVISION.streams, b"\x0a\xff" + bytes(255) + b"\x0a\xa4" + bytes(164))
    mux = Mux()
    tables = mux.tables(big)
    assert len(tables) == 4 * PACKET
    stream = tables + mux.unit(VIDEO, pes(IDR))

    assert entries(cut(stream, cuts)) == [Entry(len(tables), tables)]


def test_an_entry_within_a_table_is_continued_by_its_rest() -> None:
    big = Program(1, PMT, VIDEO, TELEVISION.streams, b"\x0a\xff" + bytes(255))
    mux = Mux()
    first, second = mux.tables(big), mux.section(PMT, write_pmt(big))
    stream = first + second[:PACKET] + mux.unit(VIDEO, pes(IDR)) + second[PACKET:]

    (entry,) = entries([stream])

    assert entry.tables[-PACKET + 3] & 15 == second[3] & 15
    assert [entry.tables[at + 4 : at + PACKET] for at in range(0, len(entry.tables), PACKET)] == [
        first[at + 4 : at + PACKET] for at in range(0, len(first), PACKET)
    ]


def test_the_newest_packets_are_kept_of_a_table_that_is_always_the_same() -> None:
    mux = Mux()
    pmt = write_pmt(TELEVISION)
    indexer = Indexer()
    indexer.feed(mux.tables(TELEVISION))

    newest = mux.unit(0, b"\0" + write_pat(1, {1: PMT}, 0)) + mux.unit(PMT, b"\0" + pmt)
    indexer.feed(newest)

    assert indexer.tables == newest


def test_a_pmt_on_the_pid_of_another_program_is_not_believed() -> None:
    one, two = program((VIDEO, H264)), program((0x200, MP2), number=2, pmt_pid=0x1001)
    mux = Mux()
    indexer = Indexer()
    indexer.feed(mux.tables(one, two))

    indexer.feed(mux.section(0x1001, write_pmt(program((0x300, HEVC), version=1))))

    assert indexer.program == one


def test_a_program_whose_pmt_moves_is_followed_there() -> None:
    mux = Mux()
    indexer = Indexer()
    indexer.feed(mux.tables(TELEVISION))
    moved = program((VIDEO, H264), pmt_pid=0x1001, version=1)
    pat, pmt = cut(mux.tables(moved, version=1), [1])

    indexer.feed(pat)
    assert (indexer.program, indexer.tables) == (None, b"")

    indexer.feed(pmt)
    assert (indexer.program, indexer.tables) == (moved, pat + pmt)


def test_no_more_than_sixteen_programs_are_looked_at() -> None:
    mux = Mux()
    radios = [program((0x200 + n, MP2), number=n, pmt_pid=0x1000 + n) for n in range(1, 17)]
    indexer = Indexer()

    indexer.feed(mux.tables(*radios, program((0x300, H264), number=17, pmt_pid=0x1011)))

    assert indexer.program == radios[0]


@pytest.mark.parametrize("cuts", [[], [3], [4], [5], [3, 4, 5]])
def test_what_follows_a_table_of_several_packets_is_not_taken_for_it(cuts: list[int]) -> None:
    big = Program(1, PMT, VIDEO, TELEVISION.streams, b"\x0a\xff" + bytes(255))
    mux = Mux()
    tables = mux.tables(big)
    assert len(tables) == 3 * PACKET
    stream = tables + mux.unit(PMT, bytes(184), start=False) + mux.unit(VIDEO, pes(IDR))

    assert entries(cut(stream, cuts)) == [Entry(4 * PACKET, tables)]


def test_on_a_pid_that_was_one_of_tables_pictures_begin_where_they_say_so() -> None:
    big = Program(1, PMT, VIDEO, TELEVISION.streams, b"\x0a\xff" + bytes(255))
    mux = Mux()
    incomplete = mux.tables(big)[: 2 * PACKET]
    moved = mux.tables(program((PMT, H264), pmt_pid=0x1001, version=1), version=1)
    pictures = mux.unit(PMT, pes(IDR), start=False) + mux.unit(PMT, pes(IDR))

    assert positions(incomplete + moved + pictures) == [5 * PACKET]


def test_of_several_programs_the_first_with_pictures_is_followed() -> None:
    radio = program((0x201, MP2), number=1, pmt_pid=0x1001)
    television = program((0x300, H264), number=2, pmt_pid=0x1002)
    another = program((0x400, H264), number=3, pmt_pid=0x1003)
    mux = Mux()
    stream = mux.tables(radio, television, another)
    indexer = Indexer()
    indexer.feed(stream)

    assert indexer.program == television
    assert pids(indexer.tables) == [0, 0x1002]


def test_without_pictures_the_first_program_with_sound_is_followed() -> None:
    data_only = program((0x200, 0x05), number=1, pmt_pid=0x1001)
    mux = Mux()
    indexer = Indexer()
    indexer.feed(mux.tables(data_only, program((0x301, MP2), number=2, pmt_pid=0x1002)))

    assert indexer.program is not None
    assert indexer.program.number == 2


def test_a_program_that_is_gone_from_the_pat_is_not_followed() -> None:
    mux = Mux()
    indexer = Indexer()
    indexer.feed(television(mux, IDR))

    indexer.feed(mux.section(0, write_pat(1, {2: 0x1002}, 1)))

    assert indexer.program is None
    assert indexer.tables == b""
    assert indexer.feed(mux.unit(VIDEO, pes(IDR))).entries == ()


def test_a_stream_is_complete_up_to_the_first_pes_packet_that_is_open() -> None:
    mux = Mux()
    indexer = Indexer()

    assert indexer.feed(mux.tables(TELEVISION)).complete == 2 * PACKET
    assert indexer.feed(mux.unit(VIDEO, pes(IDR))).complete == 2 * PACKET
    assert indexer.feed(mux.unit(AUDIO, pes(b"sound", stream_id=0xC0))).complete == 2 * PACKET
    assert indexer.feed(mux.unit(VIDEO, pes(NO_IDR))).complete == 3 * PACKET
    assert indexer.feed(mux.unit(AUDIO, pes(b"sound", stream_id=0xC0))).complete == 4 * PACKET


def test_without_a_program_all_is_complete() -> None:
    indexer = Indexer()

    assert indexer.feed(Mux().unit(VIDEO, pes(IDR))).complete == PACKET


@pytest.mark.parametrize("cuts", [[], [1], [2], [3], [1, 2, 3]])
def test_sound_is_complete_when_it_is_as_long_as_it_says(cuts: list[int]) -> None:
    mux = Mux()
    sound = mux.unit(AUDIO, pes(bytes(600), stream_id=0xC0, size=-1))
    assert len(sound) == 4 * PACKET
    indexer = Indexer()
    indexer.feed(mux.tables(RADIO))

    completes = [indexer.feed(piece).complete for piece in cut(sound, cuts)]

    assert completes[-1] == 6 * PACKET
    assert completes[:-1] == [2 * PACKET] * (len(completes) - 1)


def test_the_length_of_one_sound_is_not_that_of_the_next() -> None:
    mux = Mux()
    sounds = [pes(bytes(600), stream_id=0xC0, size=size) for size in (-1, 0)]
    first, second = (mux.unit(AUDIO, sound) for sound in sounds)
    indexer = Indexer()
    indexer.feed(mux.tables(RADIO) + first[: 2 * PACKET])

    assert indexer.feed(first[2 * PACKET : 3 * PACKET] + second[:PACKET]).complete == 5 * PACKET
    assert indexer.feed(second[PACKET:]).complete == 5 * PACKET


def test_sound_is_not_made_complete_by_packets_of_another_pid() -> None:
    mux = Mux()
    sound = mux.unit(AUDIO, pes(bytes(300), stream_id=0xC0, size=-1))
    indexer = Indexer()
    indexer.feed(mux.tables(RADIO) + sound[:PACKET])

    assert indexer.feed(mux.unit(AUDIO + 0x100, bytes(300), start=False)).complete == 2 * PACKET


def test_sound_whose_packets_are_lost_is_complete_when_the_next_begins() -> None:
    mux = Mux()
    sound = mux.unit(AUDIO, pes(bytes(600), stream_id=0xC0, size=-1))
    indexer = Indexer()
    indexer.feed(mux.tables(RADIO))

    assert indexer.feed(sound[:PACKET] + sound[2 * PACKET :]).complete == 2 * PACKET
    assert indexer.feed(sound).complete == 9 * PACKET


def test_a_stream_that_falls_silent_does_not_hold_the_others_back_for_ever() -> None:
    mux = Mux()
    indexer = Indexer()
    indexer.feed(mux.tables(TELEVISION) + mux.unit(AUDIO, pes(b"sound", stream_id=0xC0)))
    gaps = []

    for _ in range(50):
        piece = mux.unit(VIDEO, pes(NO_IDR + bytes(60_000)))
        gaps.append(indexer.position + len(piece) - indexer.feed(piece).complete)

    assert max(gaps) < 5 << 19
    assert gaps[-1] < 100_000


def test_a_long_picture_is_waited_for_as_long_as_it_comes() -> None:
    mux = Mux()
    indexer = Indexer()
    indexer.feed(television(mux, IDR))
    more = mux.unit(VIDEO, bytes(184 * 300), start=False)

    for _ in range(100):
        assert indexer.feed(more).complete == 2 * PACKET
    for _ in range(300):
        found = indexer.feed(more)
    assert found.complete == indexer.position


def test_pes_packets_of_streams_that_are_gone_are_not_waited_for() -> None:
    mux = Mux()
    indexer = Indexer()
    indexer.feed(television(mux, IDR))

    assert indexer.feed(mux.tables(program((0x200, H264), version=1))).complete == 5 * PACKET


def test_the_decoding_time_is_the_newest_of_the_pictures() -> None:
    mux = Mux()
    indexer = Indexer()
    pictures = [pes(NO_IDR, 9000, 1000), pes(NO_IDR, 3000), pes(NO_IDR)]
    piece = b"".join(mux.unit(VIDEO, picture) for picture in pictures)
    sound = mux.unit(AUDIO, pes(b"sound", 7000, stream_id=0xC0))

    assert indexer.feed(mux.tables(TELEVISION)).decode_time is None
    assert indexer.feed(piece + sound).decode_time == 3000
    assert indexer.feed(mux.unit(VIDEO, pictures[0])).decode_time == 1000
    assert indexer.feed(sound).decode_time is None


def test_scrambled_pictures_have_no_decoding_time() -> None:
    mux = Mux()

    assert Indexer().feed(television(mux) + mux.unit(VIDEO, pes(IDR, 7000), scrambled=True)).decode_time is None


def test_without_pictures_the_decoding_time_is_that_of_the_first_sound() -> None:
    mux = Mux()
    indexer = Indexer()

    found = indexer.feed(mux.tables(RADIO) + mux.unit(AUDIO, pes(b"sound", 7000, stream_id=0xC0)))

    assert found.decode_time == 7000


MARKED = 0x40
OTHER = VIDEO + 0x100
"""A PID that has the same low byte."""


def test_a_mark_is_found_where_its_picture_begins() -> None:
    mux = Mux()
    before = mux.tables(TELEVISION) + mux.unit(VIDEO, pes(NO_IDR + bytes(300))) + mux.unit(AUDIO, pes(b"sound"))
    marked = mux.unit(VIDEO, pes(IDR + bytes(300)), flags=MARKED)

    assert find_mark(before + marked + marked, VIDEO) == len(before)
    assert find_mark(marked, VIDEO) == 0
    assert find_mark(before, VIDEO) == -1
    assert find_mark(b"", VIDEO) == -1


@pytest.mark.parametrize("pid", [AUDIO, OTHER, VIDEO & 0xFF, VIDEO | 0x1000])
def test_marks_of_other_pids_are_not_found(pid: int) -> None:
    mux = Mux()
    other, marked = mux.unit(pid, pes(IDR), flags=MARKED), mux.unit(VIDEO, pes(IDR), flags=MARKED)

    assert find_mark(other, VIDEO) == -1
    assert find_mark(other + marked, VIDEO) == len(other)
    assert find_mark(other, pid) == 0


@pytest.mark.parametrize("flags", [0x80, 0x20, 0x10, 0x08])
def test_other_flags_are_no_mark(flags: int) -> None:
    assert find_mark(Mux().unit(VIDEO, pes(IDR), flags=flags), VIDEO) == -1


def test_a_mark_where_no_picture_begins_is_none() -> None:
    assert find_mark(Mux().unit(VIDEO, IDR, flags=MARKED, start=False), VIDEO) == -1


def test_what_looks_like_a_mark_is_not_found_where_there_are_no_flags() -> None:
    packet = Mux().unit(VIDEO, pes(NO_IDR + bytes(300)))[:PACKET]
    field_of_no_length = packet[:3] + bytes((0x30,)) + b"\0" + b"\x40" * 183
    no_field = packet[:4] + b"\x40" * 184

    assert find_mark(field_of_no_length + no_field, VIDEO) == -1


def test_a_mark_counts_in_a_packet_that_says_more_of_itself() -> None:
    marked = bytearray(Mux().unit(VIDEO, pes(IDR), flags=MARKED, scrambled=True))
    marked[1] |= 0x20
    marked[5] |= 0x10

    assert find_mark(bytes(marked), VIDEO) == 0


units = st.builds(
    lambda pid, flags, start, size, scrambled: (pid, flags, start, size, scrambled),
    st.sampled_from([VIDEO, AUDIO, OTHER, 0x1FFF]),
    st.sampled_from([0, MARKED, MARKED | 0x10, 0x10]),
    st.booleans(),
    st.integers(1, 400),
    st.booleans(),
)


@given(st.lists(units, max_size=12))
def test_the_first_mark_is_that_of_the_first_entry(found: list[tuple[int, int, bool, int, bool]]) -> None:
    mux = Mux()
    # After a mark, pictures without one are believed.
    begun = television(mux) + mux.unit(VIDEO, pes(IDR), flags=MARKED)
    indexer = Indexer()
    indexer.feed(begun)
    stream = b"".join(
        mux.unit(pid, pes(bytes(size)), flags=flags, start=start, scrambled=scrambled)
        for pid, flags, start, size, scrambled in found
    )

    entered = [entry.position - len(begun) for entry in indexer.feed(stream).entries]

    assert find_mark(stream, VIDEO) == (entered[0] if entered else -1)


_TRUSTED = 16 << 20
"""Bytes after a mark in which others are looked for."""


def test_the_pid_of_the_video_is_told_where_its_marks_can_be_relied_upon() -> None:
    mux = Mux()
    indexer = Indexer()
    indexer.feed(television(mux, IDR))
    assert indexer.marked_pid is None

    begun = indexer.position
    indexer.feed(mux.unit(AUDIO, pes(b"sound")) + mux.unit(VIDEO, pes(IDR), flags=MARKED))
    assert indexer.marked_pid == VIDEO

    indexer.go_to(begun + PACKET + _TRUSTED - PACKET)
    assert indexer.marked_pid == VIDEO
    indexer.go_to(begun + PACKET + _TRUSTED)
    assert indexer.marked_pid is None


def test_without_video_no_pid_has_marks() -> None:
    mux = Mux()
    indexer = Indexer()
    indexer.feed(television(mux) + mux.unit(VIDEO, pes(IDR), flags=MARKED))
    indexer.feed(mux.tables(program((AUDIO, AAC), version=1)))

    assert indexer.marked_pid is None


def test_a_stream_can_be_read_on_elsewhere_with_the_tables_of_before() -> None:
    mux = Mux()
    tables = mux.tables(TELEVISION)
    indexer = Indexer()
    indexer.feed(tables)
    picture, sound = mux.unit(VIDEO, pes(IDR), flags=MARKED), mux.unit(AUDIO, pes(b"sound", stream_id=0xC0))

    indexer.go_to(1000 * PACKET)
    found = indexer.feed(sound + picture)

    assert found.entries == (Entry(1001 * PACKET, tables),)
    assert (found.start, found.complete, indexer.position) == (1000 * PACKET, 1000 * PACKET, 1002 * PACKET)


def test_what_was_noted_before_a_stream_is_read_on_elsewhere_is_not_read() -> None:
    mux = Mux()
    indexer = Indexer()
    indexer.feed(mux.tables(TELEVISION))
    indexer.note(mux.unit(VIDEO, pes(IDR), flags=MARKED))

    indexer.go_to(1000 * PACKET)

    assert indexer.unread == 0
    assert indexer.read() == []
    assert indexer.position == 1000 * PACKET


def test_what_was_open_before_a_stream_is_read_on_elsewhere_is_not_waited_for() -> None:
    mux = Mux()
    indexer = Indexer()
    indexer.feed(mux.tables(TELEVISION) + mux.unit(VIDEO, pes(NO_IDR)) + mux.unit(AUDIO, pes(b"", stream_id=0xC0)))

    indexer.go_to(1000 * PACKET)

    assert indexer.feed(mux.unit(VIDEO, bytes(184), start=False)).complete == 1001 * PACKET


def test_a_picture_that_told_nothing_yet_is_no_entry_when_a_stream_is_read_on_elsewhere() -> None:
    mux = Mux()
    start, rest = cut(mux.unit(VIDEO, pes(b"\0\0\0\1\x0c" + b"x" * 160 + IDR)), [1])
    indexer = Indexer()
    assert indexer.feed(mux.tables(TELEVISION) + start).entries == ()

    indexer.go_to(indexer.position + 10 * PACKET)

    assert indexer.feed(rest).entries == ()


def test_a_stream_can_be_read_again() -> None:
    mux = Mux()
    stream = television(mux) + mux.unit(VIDEO, pes(IDR), flags=MARKED) + mux.unit(VIDEO, pes(NO_IDR))
    indexer = Indexer()
    first = indexer.feed(stream)

    indexer.go_to(0)
    again = indexer.feed(stream)

    assert [entry.position for entry in again.entries] == [entry.position for entry in first.entries]
    assert (again.start, again.complete, indexer.position) == (0, first.complete, len(stream))


hostile_pids = st.sampled_from([0, PMT, VIDEO, AUDIO, 0x1FFF, 0x55])
sections = st.builds(
    lambda number, pmt_pid, pid, kind, version, later: (
        [write_pat(1, {number: pmt_pid, 1: PMT}, version)],
        [write_pmt(program((pid, kind), number=number, version=version))],
    )[later],
    st.integers(1, 3),
    hostile_pids,
    hostile_pids,
    st.sampled_from([H264, HEVC, MP2, 0x06]),
    st.integers(0, 31),
    st.integers(0, 1),
)
pieces = st.one_of(
    st.tuples(hostile_pids, sections).map(lambda found: Mux().section(found[0], found[1][0])),
    st.builds(
        lambda pid, body: b"\x47" + bytes((0x40 | pid >> 8, pid & 0xFF)) + body,
        hostile_pids,
        st.binary(min_size=185, max_size=185),
    ),
    st.binary(min_size=187, max_size=187).map(lambda body: b"\x47" + body),
    st.builds(
        lambda pid, size, flags: Mux().unit(pid, pes(IDR[:size] + bytes(300)), flags=flags),
        hostile_pids,
        st.integers(0, 40),
        st.sampled_from([0, 0x40]),
    ),
    st.builds(lambda pid, size: Mux().section(pid, b"\x02\xb3\xff" + bytes(size)), hostile_pids, st.integers(0, 500)),
)


@given(st.lists(pieces, max_size=25).map(b"".join), st.lists(st.integers(0, 100), max_size=10))
@settings(deadline=None, max_examples=300)
def test_whatever_comes_does_no_harm_however_it_is_cut(stream: bytes, places: list[int]) -> None:
    stream = television(Mux()) + stream
    indexer, complete = Indexer(), 0
    found: list[Entry] = []
    for piece in cut(stream, places):
        indexed = indexer.feed(piece)
        found += indexed.entries
        assert complete <= indexed.complete <= indexer.position
        complete = indexed.complete

    whole = Indexer()
    indexed = whole.feed(stream)
    assert list(indexed.entries) == found
    assert (indexed.complete, whole.program, whole.tables) == (complete, indexer.program, indexer.tables)
    assert all(len(entry.tables) >= 2 * PACKET for entry in found)
