"""The compiled modules in a tree of their own, `build/native-tree`, so that the working tree stays as it is.

A copy of the packages with the extension modules beside them, built when the sources have changed (one and a half minutes).
"""

from __future__ import annotations

import hashlib
import os
import runpy
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from importlib import metadata
from pathlib import Path

from tests.bench.results import Tell
from tests.support.process import REPOSITORY

TREE = REPOSITORY / "build" / "native-tree"
_STAMP = "sources.sha256"
#: What else the build reads.
_BESIDE = ("setup.py", "pyproject.toml", "README.md", "LICENSE")
_TIMEOUT_S = 600.0
_VERSION_TIMEOUT_S = 10.0
#: Beside the compiler itself.
_OPTIONS = ("CFLAGS", "CPPFLAGS", "LDFLAGS", "LDSHARED")


def missing_tools(repository: Path = REPOSITORY) -> str:
    """What has to be installed before anything can be compiled; empty when it can."""
    check = runpy.run_path(str(repository / "setup.py"))["check_tools"]
    try:
        check()
    except SystemExit as missing:
        return str(missing)
    return ""


def packages(repository: Path = REPOSITORY) -> list[str]:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["packages"]["find"]["include"]
    return sorted(pattern.removesuffix("*") for pattern in patterns)


def fingerprint(repository: Path = REPOSITORY) -> str:
    """Changes when the tree has to be built anew: with the sources, the interpreter, mypyc, and the C compiler and its options."""
    found = hashlib.sha256(f"{sys.version} {sys.prefix} {metadata.version('mypy')} {_compiler()}".encode())
    files = [repository / name for name in _BESIDE[:2]]
    for package in packages(repository):
        files += sorted((repository / package).rglob("*.py"))
    for path in files:
        content = path.read_bytes()
        found.update(f"\n{path.relative_to(repository)} {len(content)}\n".encode())
        found.update(content)
    return found.hexdigest()


def _compiler() -> str:
    """What setuptools takes from the environment, else from the interpreter's own build, and the version of the compiler."""
    command = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    options = {name: os.environ.get(name, sysconfig.get_config_var(name)) for name in _OPTIONS}
    try:
        done = subprocess.run(
            [*shlex.split(command), "--version"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_VERSION_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:  # `missing_tools` tells it
        return f"{command} {options}"
    return f"{command} {options} {done.stdout}"


def is_fresh(repository: Path = REPOSITORY, tree: Path = TREE) -> bool:
    stamp = tree / _STAMP
    return stamp.exists() and stamp.read_text(encoding="utf-8") == fingerprint(repository)


def build(tell: Tell, repository: Path = REPOSITORY, tree: Path = TREE) -> Path:
    """The tree, made anew if it has to be. Raises RuntimeError with the end of what the compiler said."""
    if is_fresh(repository, tree):
        return tree
    tell(f"compiling to {tree} ...")
    wanted = fingerprint(repository)  # what changes meanwhile is compiled the next time
    copy(repository, tree)
    environment = {**os.environ, "SIDECAR_NATIVE": "1"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"],
        cwd=tree,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the modules could not be compiled:\n{done.stdout[-4000:]}")
    shutil.rmtree(tree / "build")
    (tree / _STAMP).write_text(wanted, encoding="utf-8")
    return tree


def copy(repository: Path, tree: Path) -> None:
    """The packages and what the build reads, in place of what was there. Compiled modules of the working tree stay there."""
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    for name in packages(repository):
        shutil.copytree(repository / name, tree / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for name in _BESIDE:
        shutil.copy2(repository / name, tree / name)
