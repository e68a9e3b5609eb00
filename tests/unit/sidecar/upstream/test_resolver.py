"""DNS refresh, without DNS."""

from __future__ import annotations

import asyncio
import socket

import pytest

from config.model.cluster import ClusterSpec, DiscoveryType, DnsLookupFamily
from sidecar.upstream.resolver import DnsRefresh, SystemResolver, select_family
from stats.families import ClusterStats
from stats.store import Store
from tests.support.upstream import FakeCluster, assignment, endpoint


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        (DnsLookupFamily.AUTO, ("::1", "::2")),
        (DnsLookupFamily.V4_ONLY, ("1.1.1.1",)),
        (DnsLookupFamily.V6_ONLY, ("::1", "::2")),
        (DnsLookupFamily.V4_PREFERRED, ("1.1.1.1",)),
        (DnsLookupFamily.ALL, ("::1", "1.1.1.1", "::2")),
    ],
)
def test_families(family: DnsLookupFamily, expected: tuple[str, ...]) -> None:
    assert select_family(["::1", "1.1.1.1", "::2", "::1"], family) == expected


def test_families_fall_back() -> None:
    assert select_family(["1.1.1.1"], DnsLookupFamily.AUTO) == ("1.1.1.1",)
    assert select_family(["::1"], DnsLookupFamily.V4_PREFERRED) == ("::1",)
    assert select_family(["::1"], DnsLookupFamily.V4_ONLY) == ()


class ScriptedResolver:
    """Gives the answers of a script, one round after the other."""

    def __init__(self, *rounds: dict[str, tuple[str, ...] | OSError]) -> None:
        self.rounds = list(rounds)
        self.asked: list[str] = []

    async def resolve(self, name: str, family: DnsLookupFamily) -> tuple[str, ...]:
        self.asked.append(name)
        answer = self.rounds[0][name]
        if isinstance(answer, OSError):
            raise answer
        return answer


def test_rounds() -> None:
    store = Store()
    stats = ClusterStats(store.scope("cluster.dns"))
    failure = OSError("no answer")
    resolver = ScriptedResolver(
        {"a": ("10.0.0.1",), "b": failure}, {"a": (), "b": ("10.0.0.2",)}, {"a": failure, "b": failure}
    )
    told: list[dict[str, tuple[str, ...]]] = []

    async def run() -> None:
        done = asyncio.Event()

        def on_resolved(resolved: dict[str, tuple[str, ...]]) -> None:
            told.append(resolved)
            resolver.rounds.pop(0)
            if not resolver.rounds:
                refresh.stop()
                done.set()

        refresh = DnsRefresh(resolver, ["a", "b", "a"], DnsLookupFamily.AUTO, 0.001, stats, on_resolved)
        tasks = []

        def spawn(coroutine: object) -> asyncio.Task[None]:
            tasks.append(asyncio.ensure_future(coroutine))
            return tasks[0]

        refresh.start(spawn)
        await refresh.first_done.wait()
        await done.wait()
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]

    asyncio.run(run())
    assert told == [{"a": ("10.0.0.1",)}, {"a": (), "b": ("10.0.0.2",)}, {}]
    assert (stats.update_attempt.value, stats.update_success.value, stats.update_failure.value) == (6, 3, 3)


def test_any_exception_of_a_resolver_is_a_failed_update() -> None:
    stats = ClusterStats(Store().scope("cluster.dns"))
    told: list[dict[str, tuple[str, ...]]] = []

    class Broken:
        async def resolve(self, name: str, family: DnsLookupFamily) -> tuple[str, ...]:
            if name == "bad":
                raise UnicodeError("label too long")
            return ("10.0.0.1",)

    async def run() -> None:
        refresh = DnsRefresh(Broken(), ["bad", "good"], DnsLookupFamily.AUTO, 60, stats, told.append)
        refresh.start(asyncio.ensure_future)
        await asyncio.wait_for(refresh.first_done.wait(), 5)
        refresh.stop()

    asyncio.run(run())
    assert told == [{"good": ("10.0.0.1",)}]
    assert (stats.update_success.value, stats.update_failure.value) == (1, 1)


def test_a_cluster_is_initialized_after_the_first_round() -> None:
    resolver = ScriptedResolver({"a.test": ("10.0.0.1",)})
    spec = ClusterSpec(
        "dns", "dns", DiscoveryType.STRICT_DNS, load_assignment=assignment(endpoint(80, "a.test"))
    )

    async def run() -> None:
        fake = FakeCluster(spec, resolver)
        tasks = []

        def spawn(coroutine: object) -> asyncio.Task[None]:
            tasks.append(asyncio.ensure_future(coroutine))
            return tasks[0]

        fake.cluster._spawn = spawn
        fake.cluster.start()
        await fake.cluster.initialized()
        assert [str(host.address) for host in fake.cluster.hosts()] == ["10.0.0.1:80"]
        fake.cluster.close()
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]

    asyncio.run(run())


def test_the_system_resolver() -> None:
    async def resolve(name: str) -> tuple[str, ...]:
        return await SystemResolver(asyncio.get_running_loop()).resolve(name, DnsLookupFamily.V4_PREFERRED)

    assert asyncio.run(resolve("127.0.0.1")) == ("127.0.0.1",)
    with pytest.raises(OSError, match="not a host name"):
        asyncio.run(resolve("a" * 70))


@pytest.mark.parametrize(("code", "fails"), [(socket.EAI_NONAME, False), (socket.EAI_AGAIN, True)])
def test_no_such_name_is_an_answer(code: int, fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> tuple[str, ...]:
        loop = asyncio.get_running_loop()

        async def getaddrinfo(*args: object, **kwargs: object) -> list[object]:
            raise socket.gaierror(code, "scripted")

        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
        return await SystemResolver(loop).resolve("a.test", DnsLookupFamily.AUTO)

    if fails:
        with pytest.raises(OSError, match="scripted"):
            asyncio.run(run())
    else:
        assert asyncio.run(run()) == ()
