"""Sockets: binding, original destination, options. Addresses between kernel form and ours."""

from __future__ import annotations

import errno
import os
import resource
import socket
import stat
import struct
from typing import Final

from config.model.core import Address, PipeAddress, SocketAddress

#: linux/netfilter_ipv4.h, linux/netfilter_ipv6/ip6_tables.h
SO_ORIGINAL_DST: Final = 80
SOL_IP: Final = 0
SOL_IPV6: Final = 41
IP_TRANSPARENT: Final = 19
IPV6_TRANSPARENT: Final = 75
IP_FREEBIND: Final = 15


class BindError(OSError):
    """A listening socket could not be made; `str()` names the address and why."""


class SourceAddressError(OSError):
    """An address to connect from cannot be used; `strerror` is Envoy's whole text."""


def address_of(name: object) -> Address:
    """A kernel socket name (`getsockname`, `getpeername`) as our address. IPv4-mapped IPv6 addresses become IPv4."""
    if isinstance(name, tuple) and len(name) >= 2:
        host = str(name[0])
        if host.startswith("::ffff:") and "." in host:
            host = host[7:]
        return SocketAddress(host.partition("%")[0], int(name[1]))
    if isinstance(name, bytes):
        return PipeAddress("@" + name[1:].decode("latin-1") if name[:1] == b"\0" else name.decode("latin-1"))
    return PipeAddress(name if isinstance(name, str) else "")


def original_destination(sock: socket.socket) -> Address | None:
    """Where a connection was going before a REDIRECT or TPROXY rule took it; None when none did.

    Connection tracking also knows where a connection was going that came straight to us: that is no redirection, and to
    take it for one would let a proxy connect to itself for ever.
    """
    try:
        local = address_of(sock.getsockname())
        if not isinstance(local, SocketAddress):
            return None
        is_v6 = ":" in local.address  # not so for IPv4 on an IPv6 socket
        if _is_transparent(sock):
            return local  # TPROXY leaves the destination as it is
        if is_v6:
            raw = sock.getsockopt(SOL_IPV6, SO_ORIGINAL_DST, 28)
            port, packed = struct.unpack_from("!2xH4x16s", raw)
            original = SocketAddress(socket.inet_ntop(socket.AF_INET6, packed), port)
        else:
            raw = sock.getsockopt(SOL_IP, SO_ORIGINAL_DST, 16)
            port, packed = struct.unpack_from("!2xH4s", raw)
            original = SocketAddress(socket.inet_ntop(socket.AF_INET, packed), port)
    except OSError:
        return None
    return original if original != local else None


def _is_transparent(sock: socket.socket) -> bool:
    level, option = (
        (SOL_IPV6, IPV6_TRANSPARENT) if sock.family == socket.AF_INET6 else (SOL_IP, IP_TRANSPARENT)
    )
    return bool(sock.getsockopt(level, option))


def listen(
    address: Address,
    *,
    backlog: int = 1024,
    reuse_port: bool = True,
    transparent: bool = False,
    freebind: bool = False,
    beside_own: bool = False,
    beside: socket.socket | None = None,
) -> socket.socket:
    """A bound, listening, non-blocking socket. Raises BindError naming the address.

    `beside_own`: this process itself has bound an address that overlaps, with SO_REUSEPORT. `beside`: another one of ours
    (`reuse_port`) whose address and connections it shares; the kernel deals them out.
    """
    try:
        if isinstance(address, PipeAddress):
            return _listen_pipe(address, backlog)
        if not isinstance(address, SocketAddress):
            raise OSError(errno.EAFNOSUPPORT, "internal listener addresses cannot be bound")
        if beside is not None:
            address = SocketAddress(address.address, beside.getsockname()[1])
            beside_own = True
        return _listen_tcp(address, backlog, reuse_port, transparent, freebind, beside_own)
    except OSError as error:
        raise BindError(error.errno, f"cannot listen on {address}: {error.strerror or error}") from error


def _listen_tcp(
    address: SocketAddress,
    backlog: int,
    reuse_port: bool,
    transparent: bool,
    freebind: bool,
    beside_own: bool,
) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if transparent:
            level, option = (
                (SOL_IP, IP_TRANSPARENT) if family == socket.AF_INET else (SOL_IPV6, IPV6_TRANSPARENT)
            )
            sock.setsockopt(level, option, 1)
        if freebind:
            sock.setsockopt(SOL_IP, IP_FREEBIND, 1)
        if reuse_port:
            if not beside_own:  # no telling any more whether a stranger is there, too
                _refuse_shared_port(sock, address)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((address.address, address.port))
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    return sock


def _refuse_shared_port(sock: socket.socket, address: SocketAddress) -> None:
    """Make sure that no stranger listens where `sock` is going to be bound with SO_REUSEPORT.

    With SO_REUSEPORT a second process of the same user would bind without an error and take half of the connections. A
    mistake like that must be named instead, so the port is first bound without the option.
    """
    if address.port == 0:
        return
    probe = socket.socket(sock.family, socket.SOCK_STREAM)
    try:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sock.family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        transparent = (
            (SOL_IPV6, IPV6_TRANSPARENT) if sock.family == socket.AF_INET6 else (SOL_IP, IP_TRANSPARENT)
        )
        for option in (transparent, (SOL_IP, IP_FREEBIND)):
            if sock.getsockopt(*option):
                probe.setsockopt(*option, 1)
        probe.bind((address.address, address.port))
    finally:
        probe.close()


def _listen_pipe(address: PipeAddress, backlog: int) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if address.path.startswith("@"):
            sock.bind(b"\0" + address.path[1:].encode())
        else:
            _unlink_stale(address.path)
            sock.bind(address.path)
            if address.mode:
                os.chmod(address.path, address.mode)
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    return sock


def _unlink_stale(path: str) -> None:
    """Remove a socket file that nobody serves any more; a file that is not a socket, or is served, stays."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except FileNotFoundError:
        return
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.connect(path)
    except OSError:
        os.unlink(path)
    finally:
        probe.close()


def raise_descriptor_limit() -> int:
    """Take as many file descriptors as the system lets this process have; returns their number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # not allowed, or more than the kernel's own limit
            return soft
    return hard


def descriptors_run_out(sock: socket.socket | None) -> bool:
    """Whether a new socket has one of the last file descriptors: the kernel gives the lowest free one.

    The last 64th, 64 at most, is left to the connections that are served already.
    """
    if sock is None:
        return False
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return False
    return sock.fileno() >= limit - min(64, max(1, limit // 64))


def set_nodelay(sock: socket.socket | None) -> None:
    """Small writes must leave at once; Envoy sets this on every TCP connection."""
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:  # already closed by the peer
            return
