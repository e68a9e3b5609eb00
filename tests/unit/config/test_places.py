"""Problems with files get the places of the fields that name them."""

from __future__ import annotations

import pytest

from config.bootstrap import Source
from config.places import with_places

_TEXT = """\
static_resources:
  listeners:
  - {name: a, tls: {filename: /certs/a.pem}}
  - {name: b, tls: {filename: /certs/a.pem}, log: {path: /certs}}
  clusters:
  - {name: b, ca: {filename: /certs/a.pem}, key: {environmentVariable: KEY}}
"""


@pytest.mark.parametrize(
    ("problem", "place"),
    [
        ("/certs/a.pem: expired", "x.yaml:3:31: static_resources.listeners[0].tls.filename: "),
        (
            "listener b: cannot read /certs/a.pem: gone",
            "x.yaml:4:31: static_resources.listeners[1].tls.filename: ",
        ),
        ("cluster b: /certs/a.pem is empty", "x.yaml:6:30: static_resources.clusters[0].ca.filename: "),
        ("listener b: /certs: Is a directory", "x.yaml:4:58: static_resources.listeners[1].log.path: "),
        ("variable KEY is not set", "x.yaml:6:72: static_resources.clusters[0].key.environmentVariable: "),
        ("/certs/a.pem.old: gone", ""),
        ("x/certs/a.pem: gone", ""),
        ("listener b: cannot listen on 127.0.0.1:80", ""),
        ("/certs/a.pem:3:1: field: already has a place", ""),
    ],
)
def test_place(problem: str, place: str) -> None:
    assert with_places([problem], [Source("x.yaml", _TEXT)]) == [place + problem]


def test_relative_names_of_a_workload_file() -> None:
    source = Source("w.yaml", "workload: {name: x}\nidentity: {ca: certs/ca.pem}\n")
    problems = ["listener l: /etc/mesh/certs/ca.pem: gone", "/elsewhere/certs/ca.pem: gone"]
    assert with_places(problems, [source], "/etc/mesh") == [
        "w.yaml:2:16: identity.ca: listener l: /etc/mesh/certs/ca.pem: gone",
        "/elsewhere/certs/ca.pem: gone",
    ]


def test_a_file_named_in_the_second_text() -> None:
    sources = [Source("a.yaml", "node: {id: x}"), Source("--config-yaml", "admin: {path: /a}")]
    assert with_places(["/a: gone"], sources) == ["--config-yaml:1:15: admin.path: /a: gone"]
