"""WebM and Matroska are cut where a player can join."""

import contextlib
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproxy.formats.webm import Clusters, NotMatroskaError
from tests.formats.samples import block, cluster, clusters, element, matroska_header

VIDEO, AUDIO = 1, 2
HEADER = matroska_header(VIDEO, AUDIO)
KEY = cluster(block(2, key=True), block(1, key=True), block(1, key=False))
MORE = cluster(block(1, key=False), block(2, key=True), block(1, key=True))
SOUND = cluster(block(2, key=True))


def run_of(data: bytes, *, step: int = 0, framing: Clusters | None = None) -> tuple[bytes, list[bytes]]:
    """Feed a stream in pieces; return its header and its runs, the last one included."""
    framing = framing or Clusters()
    runs = []
    for at in range(0, len(data), step or len(data)):
        runs += framing.feed(data[at : at + (step or len(data))])
    last = framing.finish()
    return framing.header, [*runs, last] if last else runs


def open_end(data: bytes) -> bytes:
    """Give a cluster an unknown size."""
    return data[:4] + b"\x01" + b"\xff" * 7 + data[12:]


def test_clusters_that_begin_with_key_frames_are_passed_on_at_once() -> None:
    framing = Clusters()
    assert framing.feed(HEADER + KEY) == [KEY]
    assert framing.header == HEADER
    assert framing.feed(KEY[:-1]) == []
    assert framing.feed(KEY[-1:]) == [KEY]


def test_once_a_cluster_begins_with_another_frame_runs_begin_with_key_frames() -> None:
    framing = Clusters()
    assert framing.feed(HEADER + KEY + MORE) == []
    assert framing.feed(SOUND) == []
    assert framing.feed(KEY) == [KEY + MORE + SOUND]
    assert framing.feed(KEY + MORE) == [KEY]
    assert framing.finish() == KEY + MORE


@pytest.mark.parametrize("step", [1, 7, 100, 0])
@pytest.mark.parametrize("shape", [lambda data: data, open_end], ids=["known", "unknown"])
def test_how_it_is_cut_on_its_way_does_not_matter(step: int, shape: type[bytes]) -> None:
    groups = [[MORE], [KEY, MORE, SOUND], [KEY, SOUND], [KEY], [KEY, MORE]]
    runs = [b"".join(map(shape, group)) for group in groups]
    assert run_of(HEADER + b"".join(runs), step=step) == (HEADER, runs)


def test_what_stands_between_clusters_belongs_to_the_one_before() -> None:
    void, cues = element(0xEC, bytes(9)), element(0x1C53BB6B, bytes(20))
    expected = [MORE + void, KEY + void, open_end(KEY) + cues, KEY]
    assert run_of(HEADER + b"".join(expected), step=1)[1] == expected


def test_without_pictures_every_cluster_can_be_joined() -> None:
    header = matroska_header(AUDIO, AUDIO)
    assert run_of(header + SOUND * 3, step=10) == (header, [SOUND] * 3)


def test_a_picture_in_a_group_is_a_key_frame_if_it_refers_to_nothing() -> None:
    picture = element(0xA1, bytes([0x81, 0, 0, 0]) + bytes(50))
    key = cluster(element(0xA0, picture))
    no_key = cluster(element(0xA0, picture + element(0xFB, b"\x01")))
    sound = element(0xA0, element(0xA1, bytes([0x82, 0, 0, 0])))
    assert run_of(HEADER + no_key + key + no_key + cluster(sound, block(1, key=True)))[1] == [
        no_key,
        key + no_key,
        cluster(sound, block(1, key=True)),
    ]


def test_of_a_cluster_that_is_cut_off_nothing_is_passed_on() -> None:
    assert run_of(HEADER + KEY + KEY[:-1]) == (HEADER, [KEY])
    assert run_of(HEADER + open_end(KEY) + open_end(KEY)[:-1])[1] == [
        open_end(KEY),
        open_end(KEY)[: -len(block(1, key=False))],
    ]


@pytest.mark.parametrize("more", [MORE, open_end(MORE)], ids=["known", "unknown"])
def test_a_run_without_an_end_is_passed_on_when_it_is_long(more: bytes) -> None:
    framing, data = Clusters(limit=10 * len(more)), HEADER + more * 25
    runs = [run for at in range(0, len(data), 50) for run in framing.feed(data[at : at + 50])]
    assert [len(run) // len(more) for run in runs] == [10, 10]
    assert HEADER + b"".join(runs) + framing.finish() == data


@pytest.mark.parametrize(
    "data",
    [
        b"\x47" + bytes(187),
        b"RIFF" + bytes(100),
        bytes(100),
        element(0x18538067),
        element(0x1A45DFA3, b"webm") + element(0x1F43B675),
        element(0x1A45DFA3, unknown=True) + bytes(50),
        matroska_header()[:-12] + element(0x1654AE6B, unknown=True) + KEY,
        HEADER + KEY + HEADER,
        HEADER + KEY + element(0x1C53BB6B, unknown=True),
        HEADER + KEY + b"\0\0\0\0",
        HEADER + KEY + element(0x1F43B675, unknown=True) + element(0xA0, unknown=True),
    ],
)
def test_what_is_no_stream_of_matroska_is_refused(data: bytes) -> None:
    with pytest.raises(NotMatroskaError):
        Clusters().feed(data)


@pytest.mark.parametrize(
    "tail",
    [element(0x1F43B675)[:-2] + b"\x10\x00", element(0x1F43B675, unknown=True) + block(2, key=True) * 100],
    ids=["known", "unknown"],
)
def test_no_more_is_held_than_the_limit(tail: bytes) -> None:
    framing = Clusters(limit=4000)
    framing.feed(HEADER)
    with pytest.raises(NotMatroskaError, match="cluster of more than"):
        framing.feed(tail)


def test_no_more_is_held_before_the_first_cluster_than_the_limit() -> None:
    with pytest.raises(NotMatroskaError, match="before the first cluster"):
        Clusters(header_limit=1024).feed(HEADER + element(0x1941A469, bytes(2000)))


@given(
    st.lists(st.sampled_from([KEY, MORE, SOUND, open_end(KEY), open_end(MORE)])),
    st.integers(1, 2000),
    st.sampled_from([500, 1 << 24]),
)
def test_nothing_is_lost_and_nothing_is_added(pieces: list[bytes], step: int, limit: int) -> None:
    data = HEADER + b"".join(pieces)
    header, runs = run_of(data, step=step, framing=Clusters(limit=limit))
    # Whether the header has ended shows with a first cluster.
    assert header + b"".join(runs) == (data if pieces else b"")


@given(st.binary(max_size=300), st.integers(0, 300), st.integers(1, 64))
def test_damage_is_refused_or_passed_on_but_never_something_else(junk: bytes, at: int, step: int) -> None:
    data = HEADER + KEY + MORE
    with contextlib.suppress(NotMatroskaError):
        run_of(data[:at] + junk + data[at:], step=step)


@pytest.mark.skipif(not shutil.which("ffmpeg") or not shutil.which("ffprobe"), reason="needs ffmpeg and ffprobe")
@pytest.mark.parametrize("options", [[], ["-cluster_time_limit", "60000", "-cluster_size_limit", "50000000"]])
def test_from_every_run_of_ffmpegs_a_player_can_start(options: list[str]) -> None:
    command = "ffmpeg -v error -nostdin -f lavfi -i testsrc=size=64x48:rate=25:d=4 -f lavfi -i sine=d=4 -c:v libx264"
    command += " -preset ultrafast -g 25 -c:a aac -f matroska"
    made = subprocess.run([*command.split(), *options, "pipe:1"], check=True, stdout=subprocess.PIPE, timeout=30).stdout
    header, runs = run_of(made, step=4096)
    assert len(runs) >= 3
    for run in runs[-2:]:
        probe = ["ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "packet=flags", "-of", "csv=p=0"]
        seen = subprocess.run(
            [*probe, "-i", "pipe:0"], input=header + run, check=True, stdout=subprocess.PIPE, timeout=30
        ).stdout
        assert seen.startswith(b"K")


def test_the_sample_is_what_it_says() -> None:
    header, pieces = clusters(2)
    assert run_of(header + b"".join(pieces), step=50) == (header, pieces)
