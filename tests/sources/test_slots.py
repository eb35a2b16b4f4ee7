"""How many transcoding processes may run at once."""

import pytest

from streamproxy.errors import TranscodingBusy, UpstreamBusy
from streamproxy.sources.slots import ProcessSlots


def test_no_more_may_run_than_there_are_slots() -> None:
    slots = ProcessSlots(2)
    with slots.slot("a"), slots.slot("b"):
        with pytest.raises(TranscodingBusy) as caught, slots.slot("c"):
            pass
        assert (caught.value.label, caught.value.reason) == ("c", "all 2 transcoding processes are in use")
        assert slots.held == 2
    with slots.slot("c"):
        assert slots.held == 1
    assert slots.held == 0


def test_who_fails_gives_back_what_it_held() -> None:
    slots = ProcessSlots(1)
    with pytest.raises(KeyError), slots.slot("a"):
        raise KeyError
    assert slots.held == 0


def test_another_number_holds_for_who_comes_now() -> None:
    slots = ProcessSlots(1)
    with slots.slot("a"):
        slots.configure(2)
        with slots.slot("b"):
            slots.configure(1)
            assert (slots.held, slots.max_processes) == (2, 1)
        with pytest.raises(UpstreamBusy, match="all 1 "), slots.slot("c"):
            pass
