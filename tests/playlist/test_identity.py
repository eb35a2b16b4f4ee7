"""Channel ids: stable against order, credentials and tokens."""

import random

from streamproxy.playlist.identity import Identity, channel_ids


def ids(*entries: Identity) -> list[str]:
    return list(channel_ids(entries))


def entry(name: str = "News", *, tvg_id: str = "news.uk", url: str = "http://h/live/user/pass/1.ts") -> Identity:
    return Identity("provider", tvg_id, name, url)


def test_an_id_is_16_hex_digits_and_does_not_change_between_versions() -> None:
    assert ids(entry()) == ["f131f88c8ee7834b"]


def test_credentials_tokens_and_hosts_do_not_change_an_id() -> None:
    before = ids(entry(), entry("Sport", url="http://h/live/user/pass/2.ts"))
    after = ids(
        entry(url="http://other:8080/live/me/other/1.ts?token=abc"), entry("Sport", url="http://x/live/me/other/2.ts")
    )

    assert before == after


def test_order_does_not_change_ids() -> None:
    entries = [entry(f"Channel {number % 7}", url=f"http://h/live/u/p/{number}.ts") for number in range(50)]
    known = dict(zip((one.url for one in entries), ids(*entries), strict=True))
    random.Random(1).shuffle(entries)

    assert dict(zip((one.url for one in entries), ids(*entries), strict=True)) == known


def test_what_identifies_the_channel_in_its_url_is_added_only_where_names_are_not_unique() -> None:
    alone, *_ = ids(entry())
    first, second = ids(entry(), entry(url="http://h/live/user/pass/2.ts"))

    assert len({alone, first, second}) == 3
    assert ids(entry(url="http://h/live/new/new/1.ts"), entry(url="http://h/live/new/new/2.ts")) == [first, second]


def test_entries_that_differ_in_nothing_are_numbered() -> None:
    first, second, third = ids(entry(), entry(), entry())

    assert len({first, second, third}) == 3
    assert ids(entry(), entry())[:2] == [first, second]


def test_the_same_name_in_two_lists_is_two_channels() -> None:
    assert len(set(ids(entry(), entry()._replace(playlist="other")))) == 2
