"""Messages between two ends of a pair of sockets."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from config.bootstrap import Source, parse_bootstrap
from config.model.options import Options
from sidecar.ipc import channel as channel_module
from sidecar.ipc.channel import Channel
from sidecar.ipc.messages import Exit, Start
from tests.support.bootstraps import bootstrap, cluster, http_filter_chain, listener, route_config, route_to


class End:
    """One end, and what it heard."""

    def __init__(self) -> None:
        self.heard: list[object] = []
        self.came = asyncio.Event()
        self.ended = 0
        self.channel = Channel(self._take, self._end)

    def _take(self, message: object) -> None:
        self.heard.append(message)
        self.came.set()

    def _end(self) -> None:
        self.ended += 1

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.heard) < count:
                self.came.clear()
                await self.came.wait()


async def pair() -> tuple[End, End]:
    loop = asyncio.get_running_loop()
    ends = End(), End()
    for end, sock in zip(ends, socket.socketpair(), strict=True):
        await end.channel.open(loop, sock)
    return ends


async def close(*ends: End) -> None:
    for end in ends:
        end.channel.close()
        await end.channel.until_ended(5)


def test_what_is_sent_is_heard_in_order() -> None:
    async def talk() -> None:
        one, other = await pair()
        messages = [Exit(True), Exit(False), "x" * 1_000_000, b"", None]
        assert [one.channel.send(each) for each in messages] == [True] * 5
        await other.wait_for(len(messages))
        assert other.heard == messages
        assert other.channel.send("back")
        await one.wait_for(1)
        assert one.heard == ["back"]
        await close(one, other)
        assert (one.ended, other.ended) == (1, 1)

    asyncio.run(talk())


def test_what_waits_is_sent_before_the_end() -> None:
    async def talk() -> None:
        one, other = await pair()
        one.channel.send("x" * 5_000_000)
        one.channel.close()
        await other.wait_for(1)
        await one.channel.until_ended(5)
        assert not one.channel.send("too late")
        await close(other)

    asyncio.run(talk())


def test_a_reader_that_does_not_read_costs_messages_and_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk() -> None:
        monkeypatch.setattr(channel_module, "MAX_WAITING_BYTES", 1_000_000)
        ours, theirs = socket.socketpair()
        one = End()
        await one.channel.open(asyncio.get_running_loop(), ours)
        taken = [one.channel.send("x" * 500_000) for _ in range(20)]
        assert taken[0] and not taken[-1]
        assert one.channel.waiting_bytes < 2_000_000
        theirs.close()
        await one.channel.until_ended(5)
        assert one.ended == 1

    asyncio.run(talk())


def test_a_message_that_is_too_long_is_not_sent(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def talk() -> None:
        one, other = await pair()
        monkeypatch.setattr(channel_module, "MAX_FRAME_BYTES", 1000)
        assert not one.channel.send("x" * 2000)
        assert one.channel.send("short")
        await other.wait_for(1)
        assert other.heard == ["short"]
        await close(one, other)

    asyncio.run(talk())
    assert "too long to be sent" in caplog.text


def test_a_frame_that_is_too_long_ends_the_channel(caplog: pytest.LogCaptureFixture) -> None:
    async def talk() -> None:
        ours, theirs = socket.socketpair()
        one = End()
        await one.channel.open(asyncio.get_running_loop(), ours)
        theirs.sendall(struct.pack("!I", channel_module.MAX_FRAME_BYTES + 1))
        await one.channel.until_ended(5)
        assert one.ended == 1 and one.heard == []
        theirs.close()

    asyncio.run(talk())
    assert "too long to be taken" in caplog.text


def test_a_configuration_arrives_as_it_was() -> None:
    text = bootstrap(
        1,
        [listener("http", 2, http_filter_chain(route_config(route_to("web"))))],
        [cluster("web", ("127.0.0.1", 3))],
        node={"id": "a", "metadata": {"NAMESPACE": "b", "LABELS": {"c": "d"}}},
    )
    start = Start(parse_bootstrap([Source("test", text)]).bootstrap, Options(), 1, {"http": 1}, (), 0, False)

    async def talk() -> None:
        one, other = await pair()
        one.channel.send(start)
        await other.wait_for(1)
        assert other.heard == [start]
        await close(one, other)

    asyncio.run(talk())
