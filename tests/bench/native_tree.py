"""The compiled modules in a tree of their own, `build/native-tree`, so that the working tree stays as it is.

A copy of the packages with the extension modules beside them, built when the sources have changed (one and a half minutes).
"""

from __future__ import annotations

import compileall
import hashlib
import os
import runpy
import shutil
import subprocess
import sys
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
    """Changes when the tree has to be built anew: with the sources, the interpreter and the compiler."""
    found = hashlib.sha256(f"{sys.version} {sys.prefix} {metadata.version('mypy')}".encode())
    files = [repository / name for name in _BESIDE[:2]]
    for package in packages(repository):
        files += sorted((repository / package).rglob("*.py"))
    for path in files:
        content = path.read_bytes()
        found.update(f"\n{path.relative_to(repository)} {len(content)}\n".encode())
        found.update(content)
    return found.hexdigest()


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
    compileall.compile_dir(tree, quiet=2)  # as in an image: the first start is not slower than the others
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
