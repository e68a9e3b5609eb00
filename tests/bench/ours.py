"""The commands of those who are measured with one bootstrap: Envoy, and this proxy compiled and pure.

Nobody is taken at his name: of each process that was started it is looked up which modules it has loaded, and from where.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import native_tree
from tests.bench.results import Tell
from tests.bench.rows import ENVOY, OURS, PURE, SIDECAR
from tests.support.envoy import require_envoy
from tests.support.process import REPOSITORY, Proxy, ProxyCommand, environment_of, start_proxy

#: A part of the name of the library that all compiled modules share.
_LIBRARY = "native__mypyc"
_LOADED_S = 5.0

Commands = dict[str, ProxyCommand]


@dataclass(frozen=True)
class Programs:
    """Who takes part, by name in the order of the columns."""

    commands: Commands
    not_compiled: str = ""
    """Why there is no compiled variant; empty when there is one."""


def programs(tell: Tell) -> Programs:
    """Compiles if need be. Without a compiler there is only the pure variant."""
    ours, missing = variants(tell)
    return Programs({ENVOY: require_envoy(), **ours}, missing)


def variants(tell: Tell) -> tuple[Commands, str]:
    """This proxy without Envoy, and why there is no compiled variant (empty when there is one)."""
    found: Commands = {}
    if missing := native_tree.missing_tools():
        tell(f"only the pure variant: {missing}")
    else:
        found[SIDECAR] = _command(SIDECAR, native_tree.build(tell))
    found[PURE] = _command(PURE, REPOSITORY)
    return found, missing


def _command(name: str, tree: Path) -> ProxyCommand:
    environment = {**environment_of(tree), "PYTHONPATH": str(tree)}  # nothing else before what is installed
    return ProxyCommand(name, [sys.executable, "-m", "sidecar"], environment)


def start(command: ProxyCommand, text: str, directory: Path, admin_port: int, **options: Any) -> Proxy:
    """`start_proxy`, and it is the variant that its name says. Raises RuntimeError."""
    proxy = start_proxy(command, text, directory, admin_port, **options)
    verify(proxy)
    return proxy


def verify(proxy: Proxy) -> None:
    """Raises RuntimeError, and ends the proxy, when it or a worker of it is not the variant that its name says."""
    name = proxy.command.name
    if name not in OURS:
        return
    deadline_s = time.monotonic() + _LOADED_S
    try:
        while True:
            try:
                for pid in [proxy.pid, *proxy.descendants()]:
                    check(name, loaded(Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")))
                return
            except (RuntimeError, OSError) as error:
                # a spare worker starts when the proxy is ready already, and may not have loaded anything yet; others end
                wrong = isinstance(error, RuntimeError) and name == PURE
                if wrong or time.monotonic() > deadline_s:
                    raise
            time.sleep(0.02)
    except BaseException:
        proxy.kill()
        raise


def loaded(maps: str) -> set[Path]:
    """The libraries of compiled modules, from `/proc/PID/maps`."""
    return {Path(line.split(maxsplit=5)[5]) for line in maps.splitlines() if _LIBRARY in line}


def check(name: str, libraries: set[Path], tree: Path = native_tree.TREE) -> None:
    """Raises RuntimeError when a process with these libraries is not the variant `name`."""
    if name == PURE and libraries:
        raise RuntimeError(
            f"the working tree is not pure, so this would not measure what it says: run `make pure` ({sorted(libraries)})"
        )
    if name == SIDECAR and (not libraries or not all(path.is_relative_to(tree) for path in libraries)):
        raise RuntimeError(
            f"the compiled variant runs {sorted(libraries) or 'no compiled modules'}, not those of {tree}"
        )
