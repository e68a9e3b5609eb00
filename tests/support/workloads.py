"""Proxies from workload files: what the short form stands for, started."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from config.bootstrap import Source
from config.workload import parse_workload
from config.workload_bootstrap import expand
from tests.support.certificates import Mesh
from tests.support.ports import free_port
from tests.support.process import Proxy, sidecar_command, start_proxy


def workload_file(
    mesh: Mesh, name: str, *, namespace: str = "default", cluster: str = "Kubernetes", **more: Any
) -> dict[str, Any]:
    """A workload with a certificate of the mesh and an admin port; `more` are further top-level keys."""
    app = name.removesuffix("-v1")
    leaf = mesh.leaf(app, namespace)
    return {
        "workload": {
            "name": name,
            "namespace": namespace,
            "cluster": cluster,
            "labels": {"app": app, "version": "v1"},
        },
        "identity": {
            "certificate": str(leaf.certificate),
            "private_key": str(leaf.key),
            "ca": str(mesh.root),
        },
        "admin": f"127.0.0.1:{free_port()}",
        **more,
    }


def start_workload(document: Mapping[str, Any], directory: Path) -> Proxy:
    """The sidecar of a workload file, ready."""
    name = document["workload"]["name"]
    text = json.dumps(expand(parse_workload(Source(name, json.dumps(document)))))
    admin_port = int(document["admin"].rpartition(":")[2])
    return start_proxy(sidecar_command(), text, directory, admin_port, name=name, drain_time_s=0)
