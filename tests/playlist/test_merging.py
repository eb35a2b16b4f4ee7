"""The same channel in several lists: one channel with backups."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproxy.config import Config, PlaylistConfig
from streamproxy.formats import m3u
from streamproxy.model import Channel, StreamKind
from streamproxy.playlist.catalog import Catalog, build
from streamproxy.playlist.loader import LoadedList, read
from streamproxy.playlist.merging import Rule, keys

BASE = "http://proxy:8080"


def listed(name: str, *entries: str, **values: Any) -> LoadedList:
    """Make a list of entries such as `guide-id|Title`, whose addresses are numbered from 1."""
    lines = ["#EXTM3U"]
    for number, (guide_id, title) in enumerate((entry.split("|") for entry in entries), 1):
        lines += [f'#EXTINF:-1 tvg-id="{guide_id}",{title}', f"http://{name}.example/{number}.ts"]
    return read(PlaylistConfig(url=f"http://{name}.example/x.m3u", name=name, **values), "\n".join(lines).encode())


def merged(rule: str, *lists: LoadedList) -> Catalog:
    return build(Config.model_validate({"merge_playlists": rule}), lists)[0]


def sources(made: Catalog) -> dict[str, list[str]]:
    """The addresses of each channel, without scheme, by its name."""
    return {
        channel.name: [upstream.url.removeprefix("http://") for upstream in channel.upstreams]
        for channel in made.channels.values()
    }


def only(made: Catalog) -> Channel:
    (channel,) = made.channels.values()
    return channel


def test_the_same_guide_id_in_several_lists_is_one_channel_with_backups_in_the_order_of_the_lists() -> None:
    made = merged(
        "tvg-id", listed("a", "one.uk|One", "two.uk|Two"), listed("b", "two.uk|2"), listed("c", "x|X", "two.uk|TWO")
    )

    assert sources(made) == {
        "One": ["a.example/1.ts"],
        "Two": ["a.example/2.ts", "b.example/1.ts", "c.example/2.ts"],
        "X": ["c.example/1.ts"],
    }


def test_the_same_title_in_several_lists_is_one_channel_where_titles_count() -> None:
    made = merged("name", listed("a", "1|News  One"), listed("b", "2| NEWS one", "1|News One HD"))

    assert sources(made) == {"News  One": ["a.example/1.ts", "b.example/1.ts"], "News One HD": ["b.example/2.ts"]}


def test_nothing_is_merged_unless_it_is_asked_for() -> None:
    made, counts = build(Config(), [listed("a", "1|One"), listed("b", "1|One")])

    assert len(made) == 2
    assert counts == {}


def test_guide_ids_differ_in_more_than_case_and_blanks_or_not_at_all() -> None:
    made = merged("tvg-id", listed("a", "BBC.uk|1", "itv|2"), listed("b", " bbc.UK |3", "itv.uk|4"))

    assert sources(made) == {
        "1": ["a.example/1.ts", "b.example/1.ts"],
        "2": ["a.example/2.ts"],
        "4": ["b.example/2.ts"],
    }


def test_entries_without_a_guide_id_stay_apart() -> None:
    assert len(merged("tvg-id", listed("a", "|One", " |Two"), listed("b", "|One", "|Two"))) == 4


def test_entries_without_a_title_of_their_own_stay_apart() -> None:
    nameless = ["#EXTM3U\nhttp://a/7.ts\nhttp://a/", "#EXTM3U\nhttp://b/7.ts\nhttp://b/"]
    lists = [read(PlaylistConfig(url="x.m3u", name=str(number)), text.encode()) for number, text in enumerate(nameless)]

    assert len(merged("name", *lists)) == 4


def test_a_title_that_is_also_the_end_of_the_address_counts() -> None:
    texts = ["#EXTM3U\n#EXTINF:-1,news\nhttp://a/news.ts", '#EXTM3U\n#EXTINF:-1 tvg-name="news",\nhttp://b/news.ts']
    lists = [read(PlaylistConfig(url="x.m3u", name=str(number)), text.encode()) for number, text in enumerate(texts)]

    assert len(only(merged("name", *lists)).upstreams) == 2


def test_entries_of_one_list_stay_apart_and_go_with_those_of_another_one_by_one() -> None:
    made = merged("tvg-id", listed("a", "1|HD", "1|SD"), listed("b", "1|first", "1|second", "1|third"))

    assert sources(made) == {
        "HD": ["a.example/1.ts", "b.example/1.ts"],
        "SD": ["a.example/2.ts", "b.example/2.ts"],
        "third": ["b.example/3.ts"],
    }


def test_the_first_list_gives_id_lines_group_and_place() -> None:
    first, second = listed("a", "z|Z", "1|One"), listed("b", "1|Eins")
    alone = build(Config(), [first])[0]

    made = merged("tvg-id", first, second)

    assert list(made.channels) == list(alone.channels)
    assert made.render(BASE) == alone.render(BASE)
    assert made.version == alone.version


def test_a_channel_is_found_by_the_id_of_its_backup_too() -> None:
    first, second = listed("a", "1|One"), listed("b", "1|Eins")
    (own_id,) = build(Config(), [second])[0].channels

    made = merged("tvg-id", first, second)

    assert made.find(own_id) is made.find(f"{own_id}.ts") is only(made)
    assert made.find("nothing") is None


def test_the_id_of_a_channel_wins_over_that_of_a_backup() -> None:
    first, second = listed("a", "1|One"), listed("b", "1|Eins")
    (own_id,) = build(Config(), [second])[0].channels
    config = Config.model_validate({"merge_playlists": "tvg-id", "streams": {own_id: "http://mine/"}})

    made, _ = build(config, [first, second])

    assert made.find(own_id) is made.channels[own_id]
    assert len(made) == 2


def test_own_streams_are_not_merged() -> None:
    config = Config.model_validate({"merge_playlists": "tvg-id", "streams": {"one": "http://mine/"}})

    assert len(build(config, [listed("a", "one|one")])[0]) == 2


def test_each_upstream_knows_its_list_its_account_its_headers_and_what_it_is() -> None:
    hls = '#EXTM3U\n#EXTINF:-1 tvg-id="1",One\n#EXTVLCOPT:http-referrer=http://r/\nhttp://b/1.m3u8\n'
    second = read(PlaylistConfig(url="b.m3u", name="b"), hls.encode())

    channel = only(merged("tvg-id", listed("a", "1|One", user_agent="UA"), second))

    assert [(each.label, each.account) for each in channel.upstreams] == [("a", "a"), ("b", "b")]
    assert [each.headers for each in channel.upstreams] == [{"User-Agent": "UA"}, {"Referer": "http://r/"}]
    assert [each.kind for each in channel.upstreams] == [StreamKind.LIVE, StreamKind.HLS]
    assert channel.kind is StreamKind.LIVE


def test_how_often_it_was_merged_is_counted() -> None:
    config = Config.model_validate({"merge_playlists": "tvg-id"})

    _, counts = build(config, [listed("a", "1|One", "2|Two"), listed("b", "2|Two", "1|One", "3|Three")])

    assert counts == {"merged": 2}


def test_nothing_of_a_backups_lines_is_shown() -> None:
    made = merged("tvg-id", listed("a", "1|One", "2|Two"), listed("b", "1|Eins", "9|Nine"))

    assert [entry.title for entry in m3u.parse(made.render(BASE).decode()).entries] == ["One", "Two", "Nine"]


LISTS = st.lists(
    st.lists(st.tuples(st.sampled_from(["", "a", "A", "b"]), st.sampled_from(["x", "X", "y"])), min_size=1, max_size=6),
    min_size=1,
    max_size=4,
)


@given(LISTS, st.sampled_from(["none", "tvg-id", "name"]))
def test_no_entry_is_lost_and_no_channel_has_two_upstreams_of_one_list(
    lists: list[list[tuple[str, str]]], rule: Rule
) -> None:
    made = merged(rule, *(listed(f"l{number}", *map("|".join, entries)) for number, entries in enumerate(lists)))

    channels = made.channels.values()
    assert sum(len(channel.upstreams) for channel in channels) == sum(map(len, lists))
    for channel in channels:
        labels = [upstream.label for upstream in channel.upstreams]
        assert labels == sorted(set(labels))


@given(LISTS)
def test_a_key_comes_once_in_a_list(lists: list[list[tuple[str, str]]]) -> None:
    entries = listed("a", *("|".join(entry) for entries in lists for entry in entries)).playlist.entries

    found = [key for key in keys([(entry, entry.facts) for entry in entries], "tvg-id") if key]

    assert len(found) == len(set(found))


@pytest.mark.parametrize("backups", [1, 3])
def test_the_id_stays_while_backups_come_and_go(backups: int) -> None:
    first = listed("a", "1|One")
    others = [listed(f"b{number}", "1|One") for number in range(backups)]

    assert only(merged("tvg-id", first, *others)).id == only(merged("tvg-id", first)).id
