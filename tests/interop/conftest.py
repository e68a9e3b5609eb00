"""What the gRPC tests share: the server, the sidecars of each topology, a client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.grpc_pair import TOPOLOGIES, GrpcMesh
from tests.support.grpc_client import GrpcClient
from tests.support.grpc_echo import GrpcServer
from tests.support.ports import free_port


@pytest.fixture(scope="module")
def grpc_server() -> Iterator[GrpcServer]:
    server = GrpcServer("127.0.0.1", free_port()).start()
    yield server
    server.stop()


@pytest.fixture(scope="module", params=TOPOLOGIES)
def grpc_mesh(
    request: pytest.FixtureRequest, grpc_server: GrpcServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GrpcMesh]:
    mesh = GrpcMesh(request.param, grpc_server.address, tmp_path_factory.mktemp("grpc"))
    yield mesh
    mesh.close()


@pytest.fixture
def grpc_client(grpc_mesh: GrpcMesh, grpc_server: GrpcServer) -> Iterator[GrpcClient]:
    """A connection of its own for each test, and a server that has forgotten the calls before."""
    grpc_server.forget_calls()
    with GrpcClient(grpc_mesh.address) as client:
        yield client
