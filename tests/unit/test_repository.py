"""The repository agrees with itself: packaging, container, checks and house rules that no other tool looks after."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("alpn", "config", "protocols", "sidecar", "stats")
MAX_LINES = 800
GENERATED = re.compile(r"config/proto/istio/")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

_IGNORED_DIRECTORIES = {"__pycache__", "build", "dist", "demo-run"}


def _files(*directories: str) -> Iterator[Path]:
    """All files that belong to the project, without environments, caches and build output."""
    for start in [ROOT / name for name in directories] if directories else [ROOT]:
        for directory, names, files in os.walk(start):
            names[:] = [
                name
                for name in names
                if name not in _IGNORED_DIRECTORIES
                and not name.endswith(".egg-info")
                and (not name.startswith(".") or name == ".ci")
            ]
            yield from (Path(directory) / name for name in files)


def _relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _sources() -> list[Path]:
    return [
        path for path in _files(*PACKAGES) if path.suffix == ".py" and not GENERATED.search(_relative(path))
    ]


def test_no_file_is_too_long() -> None:
    long = {
        _relative(path): count
        for path in _sources()
        if (count := len(path.read_bytes().splitlines())) > MAX_LINES
    }
    assert long == {}


def test_nothing_is_left_unfinished() -> None:
    found = [
        f"{_relative(path)}:{number}: {line.strip()}"
        for path in _sources()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert found == []


def test_every_module_says_what_it_is() -> None:
    silent = [
        _relative(path)
        for path in _sources()
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []


def test_every_package_is_typed() -> None:
    assert [name for name in PACKAGES if not (ROOT / name / "py.typed").exists()] == []


def test_test_directories_are_packages() -> None:
    """Equal file names in different directories would clash otherwise."""
    missing = {
        _relative(path.parent)
        for path in _files("tests")
        if path.name.startswith("test_")
        and path.suffix == ".py"
        and not (path.parent / "__init__.py").exists()
    }
    assert missing == set()


def test_no_path_of_this_machine() -> None:
    """Nothing refers to where this working copy lies or to anybody's home."""
    places = [str(ROOT) + "/", str(Path.home()) + "/"]
    found = []
    for path in _files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{_relative(path)}: {place}" for place in places if place in text]
    assert found == []


def test_no_private_key_is_kept() -> None:
    key = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{40}")
    assert [_relative(path) for path in _files() if key.search(path.read_bytes())] == []


# Packaging


def _native(key: str) -> list[str]:
    listed: list[str] = PROJECT["tool"]["sidecar"]["native"][key]
    return listed


def test_compiled_modules_are_listed_with_what_exists() -> None:
    found = {pattern: {_relative(path) for path in ROOT.glob(pattern)} for pattern in _native("compiled")}
    assert [pattern for pattern, files in found.items() if not files] == []
    assert set(_native("interpreted")) - set().union(*found.values()) == set()


def test_compiled_modules_are_those_of_the_sources() -> None:
    """Python would run what was compiled and not what is written: `make native`, or `make pure`."""
    compiled = [path for path in _files(*PACKAGES) if path.suffix == ".so" and "__mypyc" not in path.name]
    sources = {path: path.with_name(path.name.partition(".")[0] + ".py") for path in compiled}
    listed = {path for pattern in _native("compiled") for path in ROOT.glob(pattern)}
    listed -= {ROOT / name for name in _native("interpreted")}
    assert [_relative(path) for path, source in sources.items() if source not in listed] == []
    old = [path for path, source in sources.items() if path.stat().st_mtime < source.stat().st_mtime]
    assert [_relative(path) for path in old] == []


def _requirements(*extras: str) -> list[Requirement]:
    project = PROJECT["project"]
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    return [Requirement(line) for line in lines]


def _constraints() -> dict[str, Requirement]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(pin.name): pin for pin in pins}


def test_constraints_pin_every_dependency_within_its_range() -> None:
    pins = _constraints()
    for requirement in _requirements("dev"):
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement.name} is not in constraints.txt"
        (specifier,) = pin.specifier
        assert specifier.operator == "==", str(pin)
        assert requirement.specifier.contains(specifier.version), f"{pin} is outside {requirement}"


def test_wheel_takes_every_package() -> None:
    patterns = PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    assert sorted(pattern.removesuffix("*") for pattern in patterns) == sorted(PACKAGES)


# Container and checks

_DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def _copied_from_the_context() -> list[str]:
    sources = []
    for line in _DOCKERFILE.splitlines():
        words = line.split()
        if words[:1] == ["COPY"] and not words[1].startswith("--from"):
            sources += words[1:-1]
    return sources


def test_image_copies_what_exists_and_every_package() -> None:
    copied = _copied_from_the_context()
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert set(PACKAGES) <= set(copied)
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert [name for name in copied if f"!{name}" not in allowed] == []


def test_image_starts_the_scripts_of_the_project() -> None:
    scripts = PROJECT["project"]["scripts"]
    entry = re.search(r'^ENTRYPOINT \["([^"]+)"\]$', _DOCKERFILE, re.MULTILINE)
    health = re.search(r'^HEALTHCHECK .*CMD \["([^"]+)", "([^"]+)"', _DOCKERFILE, re.MULTILINE)
    assert entry is not None
    assert health is not None
    assert entry[1] in scripts
    assert health[1] in scripts
    assert health[2] == "health"
    assert re.search(r"^USER 1337:1337$", _DOCKERFILE, re.MULTILINE)


@pytest.mark.parametrize(
    "target",
    ["demo", "test", "check", "conformance", "bench", "curves", "envoy", "image", "native", "pure", "clean"],
)
def test_make_has_the_target(target: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_ci_script_can_be_run() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_conformance_data_keep_their_notice() -> None:
    data = ROOT / "tests" / "conformance" / "data"
    assert "istio/proxy" in (data / "NOTICE").read_text(encoding="utf-8")
    assert "Apache License" in (data / "LICENSE").read_text(encoding="utf-8")
