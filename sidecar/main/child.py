"""One worker as main sees it: a process at the other end of a channel."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sidecar.ipc.channel import Channel
from sidecar.ipc.descriptors import send_descriptors
from sidecar.main import own_program

if TYPE_CHECKING:
    from sidecar.ipc.messages import Start


class Child:
    """A started worker. `on_message` gets what it says."""

    def __init__(self, on_message: Callable[[Child, object], None]) -> None:
        #: its number; -1 until it has one
        self.worker = -1
        #: it has said that it accepts connections
        self.serves = False
        self.connections = 0
        #: how much main had heard of it when it looked, and how often it has looked since there was more
        self.heard_bytes = 0
        self.silent_looks = 0
        self.channel = Channel(lambda message: on_message(self, message), self._on_end)
        self._process: asyncio.subprocess.Process | None = None
        self._socket: socket.socket | None = None

    async def spawn(self) -> None:
        """Start the process; it gets ready, and waits until it is told what to do (`open`, then `begin`). Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *own_program.command("sidecar.worker", str(theirs.fileno())),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=own_program.environment(),
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._socket = ours

    async def open(self, loop: asyncio.AbstractEventLoop, descriptors: Sequence[int]) -> None:
        """Give it descriptors; from now on there is a channel. Raises OSError when it has died."""
        assert self._socket is not None, "it was started"
        ours, self._socket = self._socket, None
        try:
            send_descriptors(ours, descriptors)
        except OSError:
            ours.close()
            raise
        await self.channel.open(loop, ours)

    def begin(self, message: Start) -> None:
        """Tell it what to do, with the descriptors that the message counts."""
        self.worker = message.worker
        self.channel.send(message)

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    async def wait(self) -> int:
        """Its exit code, negative for a signal; after everything that it has said was heard."""
        assert self._process is not None, "it was started"
        code = await self._process.wait()
        await self.channel.until_ended(1.0)
        self.channel.close()
        return code

    async def dismiss(self) -> None:
        """It was never told what to do, and will not be: it ends."""
        if self._socket is not None:
            self._socket.close()
        self.kill()
        if self._process is not None:
            await self._process.wait()

    def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)

    def _on_end(self) -> None:
        self.serves = False
