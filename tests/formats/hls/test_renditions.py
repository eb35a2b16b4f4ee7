"""Which variant is taken, and where its sound comes from."""

import pytest

from streamproxy.formats.hls.model import MultivariantPlaylist
from streamproxy.formats.hls.read import read
from streamproxy.formats.hls.renditions import SoundApart, has_separate_sound, in_order, self_selecting_first, sound_of


def playlist(*lines: str) -> MultivariantPlaylist:
    text = "\n".join(["#EXTM3U", *lines, ""])
    found = read(text, "http://host/")
    assert isinstance(found, MultivariantPlaylist)
    return self_selecting_first(found, text)


def sound(name: str, more: str = "", group: str = "s", uri: str | None = None) -> str:
    return f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="{group}",NAME="{name}",URI="{uri or name}"{more}'


def variant(name: str, bandwidth: int, height: int, more: str = "") -> str:
    return f"#EXT-X-STREAM-INF:BANDWIDTH={bandwidth},RESOLUTION=1x{height}{more}\n{name}"


APART = ',AUDIO="s"'


def order(found: MultivariantPlaylist, quality: str = "best", *, joins: bool = True) -> str:
    return "".join(each.url[-1] for each in in_order(found, quality, joins=joins))


@pytest.mark.parametrize(
    ("sounds", "chosen"),
    [
        ([sound("a"), sound("b")], "a"),
        ([sound("a"), sound("b", ",AUTOSELECT=YES")], "b"),
        ([sound("a", ",AUTOSELECT=YES"), sound("b", ",AUTOSELECT=YES,DEFAULT=YES")], "b"),
        ([sound("a", ",DEFAULT=NO,AUTOSELECT=NO"), sound("b", ",DEFAULT=YES")], "b"),
        ([sound("x", ",DEFAULT=YES", group="other"), sound("a")], "a"),
    ],
)
def test_the_default_rendition_is_heard_or_one_that_selects_itself_or_the_first(sounds: list[str], chosen: str) -> None:
    found = playlist(*sounds, variant("v", 1, 1, APART))
    rendition = sound_of(found, found.variants[0])
    assert rendition is not None
    assert rendition.name == chosen


@pytest.mark.parametrize(
    "lines",
    [
        [variant("v", 1, 1)],
        [sound("a", group="other"), variant("v", 1, 1, APART)],
        [sound("a", uri="v"), variant("v", 1, 1, APART)],
        [sound("a"), '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="s",NAME="b"', variant("v", 1, 1, APART)],
    ],
    ids=["no group", "another group", "its own", "one is in it"],
)
def test_a_variant_with_sound_in_it_needs_none(lines: list[str]) -> None:
    found = playlist(*lines)
    assert not has_separate_sound(found, found.variants[0])
    assert sound_of(found, found.variants[0]) is None


@pytest.mark.parametrize(
    ("variants", "joined", "whole"),
    [
        ([variant("a", 900, 1080, APART), variant("b", 500, 720)], "ab", "b"),
        ([variant("a", 900, 1080, APART), variant("b", 800, 1080)], "ba", "b"),
        ([variant("a", 900, 1080, APART), variant("b", 300, 1080)], "ab", "b"),
        ([variant("a", 900, 1080), variant("b", 950, 1080), variant("c", 500, 720, APART)], "bac", "ba"),
        ([variant("a", 900, 1080, APART), variant("b", 500, 720, APART)], "ab", None),
        ([variant("a", 900, 1080, APART), variant("b", 500, 720, ',CODECS="avc1.4d"')], "ab", None),
    ],
    ids=["better", "as good", "whole and poor", "whole is best", "none is whole", "no sound at all"],
)
def test_what_is_whole_goes_first_where_it_is_as_good(variants: list[str], joined: str, whole: str | None) -> None:
    found = playlist(sound("x"), *variants)
    assert order(found) == joined
    if whole is not None:
        assert order(found, joins=False) == whole
    else:
        with pytest.raises(SoundApart):
            order(found, joins=False)


def test_the_quality_wanted_decides() -> None:
    found = playlist(sound("x"), variant("a", 900, 1080), variant("b", 500, 720, APART), variant("c", 450, 720))
    assert order(found, "720p") == "cba"
    assert order(found, "worst") == "cba"
    with pytest.raises(ValueError, match="nonsense"):
        order(found, "nonsense")
