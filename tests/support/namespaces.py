"""Network namespaces with real packets and real nat rules, for tests that need root. Everything is removed at the end."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from tests.support.envoy import missing, require_program
from tests.support.process import ChildProcess

_numbers = itertools.count(1)


def require_namespaces() -> None:
    """Skips (under CI: fails) where network namespaces cannot be made."""
    if os.geteuid() != 0:
        missing("network namespaces need root")
    require_program("ip", "iproute2")
    require_program("iptables", "iptables")
    require_program("setpriv", "util-linux")


class Namespace:
    """One network namespace with its loopback interface up."""

    def __init__(self) -> None:
        self.name = f"sidecar-{os.getpid()}-{next(_numbers)}"
        self._children: list[ChildProcess] = []
        _run("ip", "netns", "add", self.name)
        self.run("ip", "link", "set", "lo", "up")

    def command(self, *argv: str, group: int | None = None) -> list[str]:
        """A command line that runs `argv` in here, if wanted with a group id of its own."""
        as_group = ["setpriv", "--regid", str(group), "--clear-groups"] if group is not None else []
        return ["ip", "netns", "exec", self.name, *as_group, *argv]

    def run(self, *argv: str, timeout_s: float = 20.0) -> str:
        """Run to its end; what it printed. Raises RuntimeError when it fails."""
        return _run(*self.command(*argv), timeout_s=timeout_s)

    def start(
        self,
        argv: Sequence[str],
        log_path: Path,
        *,
        group: int | None = None,
        env: dict[str, str] | None = None,
    ) -> ChildProcess:
        """Run in the background until the namespace is closed."""
        child = ChildProcess(self.command(*argv, group=group), log_path, env)
        self._children.append(child)
        return child

    def redirect(self, chain: str, *match: str, to_port: int) -> None:
        """A nat rule for TCP in `OUTPUT` or `PREROUTING`."""
        rule = ("-t", "nat", "-A", chain, "-p", "tcp", *match)
        self.run("iptables", "-w", *rule, "-j", "REDIRECT", "--to-ports", str(to_port))

    def let_through(self, chain: str, *match: str) -> None:
        """A nat rule that ends the search: no redirection."""
        self.run("iptables", "-w", "-t", "nat", "-A", chain, "-p", "tcp", *match, "-j", "RETURN")

    def __enter__(self) -> Namespace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self._children:
            child.kill()
        _run("ip", "netns", "delete", self.name)


def connect(one: Namespace, one_address: str, other: Namespace, other_address: str) -> None:
    """A cable between two namespaces; addresses with their prefix length."""
    one_end, other_end = f"v{os.getpid()}a", f"v{os.getpid()}b"
    _run(
        "ip",
        "link",
        "add",
        one_end,
        "netns",
        one.name,
        "type",
        "veth",
        "peer",
        "name",
        other_end,
        "netns",
        other.name,
    )
    for namespace, end, address in ((one, one_end, one_address), (other, other_end, other_address)):
        namespace.run("ip", "address", "add", address, "dev", end)
        namespace.run("ip", "link", "set", end, "up")


def _run(*argv: str, timeout_s: float = 20.0) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.returncode}: {done.stderr or done.stdout}")
    return done.stdout
