"""A real process under test: started, watched, measured and ended by its own pid."""

from __future__ import annotations

import atexit
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from tests.support.http_client import get

REPOSITORY = Path(__file__).resolve().parents[2]

_CLOCK_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_T = TypeVar("_T")


def wait_until(
    probe: Callable[[], _T | None],
    *,
    timeout_s: float,
    what: str,
    interval_s: float = 0.02,
) -> _T:
    """The first answer of `probe` that is neither None nor False.

    Raises TimeoutError with `what` when there is none in time.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        answer = probe()
        if answer is not None and answer is not False:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_s:g} s")
        time.sleep(interval_s)


class ChildProcess:
    """A started program; its standard error and output go to one file."""

    def __init__(self, argv: Sequence[str], log_path: Path, env: Mapping[str, str] | None = None) -> None:
        self.argv = list(argv)
        self.log_path = log_path
        with log_path.open("wb") as log:
            self._popen = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(env) if env is not None else None,
                cwd=log_path.parent,
            )
        atexit.register(self.kill)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, None while the process runs."""
        return self._popen.poll()

    def log_text(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def wait(self, timeout_s: float) -> int:
        """The exit code. Raises subprocess.TimeoutExpired."""
        return self._popen.wait(timeout_s)

    def terminate(self, grace_s: float = 5.0) -> int:
        """SIGTERM, then SIGKILL after `grace_s`; the exit code."""
        if self._popen.poll() is None:
            self._popen.terminate()
            try:
                self._popen.wait(grace_s)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait()
        atexit.unregister(self.kill)
        return self._popen.returncode

    def kill(self) -> None:
        if self._popen.poll() is None:
            self._popen.kill()
            self._popen.wait()

    def rss_bytes(self) -> int:
        """Resident memory of this process (not of its children)."""
        return self._memory("VmRSS")

    def reset_peak_rss(self) -> None:
        """From now on `peak_rss_bytes` counts."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def peak_rss_bytes(self) -> int:
        """The largest resident memory since `reset_peak_rss`."""
        return self._memory("VmHWM")

    def _memory(self, name: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError(f"process {self.pid} has no memory: it has ended")

    def cpu_seconds(self) -> float:
        """User and system time used so far, of this process and of its waited-for children."""
        stat = Path(f"/proc/{self.pid}/stat").read_text()
        fields = stat[stat.rindex(")") + 2 :].split()
        return sum(int(value) for value in fields[11:15]) / _CLOCK_TICKS_PER_SECOND

    def descendants(self) -> list[int]:
        """The processes that it has started, and those that these have, without those that were waited for."""
        found = [self.pid]
        for pid in found:  # which grows
            found += _children_of(pid)
        return found[1:]

    def open_descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))


def _children_of(pid: int) -> list[int]:
    """Of all its threads; none when it has ended."""
    try:
        lists = [(thread / "children").read_text() for thread in Path(f"/proc/{pid}/task").iterdir()]
        return [int(child) for children in lists for child in children.split()]
    except OSError:
        return []


class ProxyCommand:
    """How to start one kind of proxy: this project's, or the real Envoy."""

    def __init__(self, name: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.argv = tuple(argv)
        self.env = dict(env) if env is not None else None

    def __repr__(self) -> str:
        return self.name


def environment_of(tree: Path) -> dict[str, str]:
    """For a proxy from this tree: what is installed comes after it, and the bytecode of its modules is kept as of an installed one.

    Else each process would compile all sources anew where the environment says that none is to write bytecode.
    """
    env = dict(os.environ)
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(tree), env.get("PYTHONPATH", "")]))
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    env["PYTHONPYCACHEPREFIX"] = str(REPOSITORY / ".pycache")
    return env


def sidecar_command() -> ProxyCommand:
    """This project's proxy, from this tree.

    `SIDECAR_TEST_PROXY` (a command line) puts another program in its place: the way to check the tests themselves
    against the real Envoy.
    """
    env = environment_of(REPOSITORY)
    replacement = os.environ.get("SIDECAR_TEST_PROXY")
    if replacement:
        return ProxyCommand("replacement", shlex.split(replacement), env)
    return ProxyCommand("sidecar", [sys.executable, "-m", "sidecar"], env)


class Finished(NamedTuple):
    """A program that has ended by itself."""

    code: int
    output: str
    errors: str


def run_to_end(
    module: str, *arguments: str | Path, timeout_s: float = 20.0, cwd: Path | None = None
) -> Finished:
    """`python -m module arguments...` of this tree until it ends. Raises subprocess.TimeoutExpired."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=sidecar_command().env,
        cwd=cwd,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


class Proxy(ChildProcess):
    """A running proxy, whichever program it is, with its admin address."""

    def __init__(
        self,
        command: ProxyCommand,
        config_path: Path,
        admin_port: int,
        *,
        concurrency: int = 1,
        log_level: str = "warning",
        drain_time_s: int = 4,
        extra: Sequence[str] = (),
    ) -> None:
        self.command = command
        self.admin_address = ("127.0.0.1", admin_port)
        argv = [
            *command.argv,
            "-c",
            str(config_path),
            "-l",
            log_level,
            "--concurrency",
            str(concurrency),
            "--disable-hot-restart",
            "--drain-time-s",
            str(drain_time_s),
            *extra,
        ]
        super().__init__(argv, config_path.with_suffix(f".{command.name}.log"), command.env)

    def wait_ready(self, timeout_s: float = 20.0) -> None:
        """Until `GET /ready` answers 200. Raises RuntimeError with the log when the process ends before."""

        def ready() -> bool:
            if self.returncode is not None:
                raise RuntimeError(
                    f"{self.command} ended with {self.returncode} before it was ready:\n{self.log_text()[-4000:]}"
                )
            try:
                return get(self.admin_address, "/ready", timeout_s=2.0).status == 200
            except OSError:
                return False

        try:
            wait_until(ready, timeout_s=timeout_s, what=f"{self.command} ready")
        except TimeoutError as error:
            self.kill()
            raise RuntimeError(f"{error}\n{self.log_text()[-4000:]}") from None

    def admin(self, path: str, timeout_s: float = 10.0, method: str = "GET") -> str:
        """The body of an admin page. Raises AssertionError for any status but 200."""
        response = get(self.admin_address, path, timeout_s=timeout_s, method=method)
        assert response.status == 200, f"{method} {path}: {response.status} {response.body!r}"
        return response.body.decode("utf-8")

    def prometheus(self) -> str:
        return self.admin("/stats/prometheus")

    def stat(self, name: str) -> int:
        """The value of one counter or gauge under its Envoy name; 0 when it does not exist."""
        for line in self.admin("/stats").splitlines():
            key, _, value = line.rpartition(": ")
            if key == name:
                return int(value)
        return 0

    def quit(self, timeout_s: float = 3.0) -> int:
        """`POST /quitquitquit`; the exit code. Raises subprocess.TimeoutExpired when it does not end in time."""
        get(self.admin_address, "/quitquitquit", timeout_s=timeout_s, method="POST")
        code = self.wait(timeout_s)
        atexit.unregister(self.kill)
        return code


def start_proxy(
    command: ProxyCommand,
    config_text: str,
    directory: Path,
    admin_port: int,
    *,
    name: str = "bootstrap",
    concurrency: int = 1,
    log_level: str = "warning",
    drain_time_s: int = 4,
    extra: Sequence[str] = (),
    timeout_s: float = 20.0,
) -> Proxy:
    """Write `config_text` to `directory`, start the proxy on it and wait until it is ready."""
    suffix = ".json" if config_text.lstrip().startswith("{") else ".yaml"
    config_path = directory / f"{name}-{admin_port}{suffix}"
    config_path.write_text(config_text, encoding="utf-8")
    proxy = Proxy(
        command,
        config_path,
        admin_port,
        concurrency=concurrency,
        log_level=log_level,
        drain_time_s=drain_time_s,
        extra=extra,
    )
    proxy.wait_ready(timeout_s)
    return proxy
