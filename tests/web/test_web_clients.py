from __future__ import annotations

import asyncio

import pytest

from streamer.web.access import Right
from streamer.web.hub import MAX_AHEAD, MAX_CLIENTS, Hub, PageClient
from streamer.web.outbox import Message, Outbox


def test_only_the_newest_of_a_subject_waits() -> None:
    box = Outbox()
    for number in range(1000):
        box.put("plane xy", f"xy {number}")
        box.put("plane xz", f"xz {number}")
    assert len(box) == 2
    assert box.dropped == 1998
    assert [box.take(), box.take(), box.take()] == ["xy 999", "xz 999", None]


def test_a_client_that_takes_nothing_holds_up_nobody_and_is_cut_off() -> None:
    async def scene() -> None:
        hub = Hub()
        slow, quick = PageClient(Right.LOOK, hub.counts), PageClient(Right.LOOK, hub.counts)
        got: list[Message] = []

        async def never(_message: Message) -> None:
            await asyncio.Event().wait()

        async def take(message: Message) -> None:
            got.append(message)

        hub.enter(slow)
        hub.enter(quick)
        stuck = asyncio.create_task(slow.send_all(never, within_s=0.02))
        running = asyncio.create_task(quick.send_all(take))
        for number in range(50):
            hub.publish("state", str(number))
            await asyncio.sleep(0)
        while got[-1:] != ["49"]:
            await asyncio.sleep(0)
        assert len(slow.outbox) <= 1
        with pytest.raises(TimeoutError):
            await stuck
        hub.leave(slow)
        assert hub.counts["dropped"] > 0
        assert (hub.counts["texts"], hub.counts["cut"]) == (50, 1)
        assert hub.counts["bytes"] == sum(map(len, map(str, range(50))))
        running.cancel()

    asyncio.run(scene())


def test_pictures_wait_until_the_page_has_shown_those_before() -> None:
    async def scene() -> None:
        client = PageClient(Right.LOOK)
        got: list[Message] = []

        async def take(message: Message) -> None:
            got.append(message)

        running = asyncio.create_task(client.send_all(take))
        for number in range(2 * MAX_AHEAD):
            client.put(f"plane {number}", b"picture")
        client.put("state", "words")
        while len(got) < MAX_AHEAD + 1:
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        assert got == [b"picture"] * MAX_AHEAD + ["words"]
        client.drawn()
        while len(got) < MAX_AHEAD + 2:
            await asyncio.sleep(0)
        running.cancel()

    asyncio.run(scene())


def test_there_is_room_for_so_many() -> None:
    hub = Hub()
    for _ in range(MAX_CLIENTS):
        assert not hub.full
        hub.enter(PageClient(Right.LOOK))
    assert hub.full


def test_pictures_of_the_detector_are_for_those_who_see_it() -> None:
    hub, one, other = Hub(), PageClient(Right.LOOK), PageClient(Right.LOOK)
    for client in (one, other):
        hub.enter(client)
    hub.see(one, detector=True)
    hub.see(one, detector=True)
    assert hub.seeing_detector == 1
    hub.publish("look raw", b"picture")
    hub.publish("state", "words")
    assert (len(one.outbox), len(other.outbox)) == (2, 1)
    hub.leave(one)
    assert hub.seeing_detector == 0
