"""When the compiled tree is made anew, and that nobody is measured under the name of another."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.bench import native_tree, ours
from tests.bench.rows import PURE, SIDECAR
from tests.support.process import REPOSITORY, sidecar_command

_LIBRARY = "sidecar/native__mypyc.cpython-311-x86_64-linux-gnu.so"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A small one."""
    root = tmp_path / "repository"
    for name in ("README.md", "LICENSE", "setup.py", "pyproject.toml"):
        root.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, root / name)
    for package in native_tree.packages(root):
        (root / package).mkdir()
        (root / package / "__init__.py").write_text("")
    return root


def _stamped(repository: Path, tree: Path) -> None:
    native_tree.copy(repository, tree)
    (tree / "sources.sha256").write_text(native_tree.fingerprint(repository))


def test_a_tree_is_fresh_until_a_source_changes(repository: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    assert not native_tree.is_fresh(repository, tree)
    _stamped(repository, tree)
    assert native_tree.is_fresh(repository, tree)
    (repository / "stats" / "__init__.py").write_text("A = 1\n")
    assert not native_tree.is_fresh(repository, tree)


def test_a_file_more_is_a_change(repository: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    _stamped(repository, tree)
    (repository / "alpn" / "more.py").write_text("")
    assert not native_tree.is_fresh(repository, tree)


@pytest.mark.parametrize("name", ["CFLAGS", "CPPFLAGS", "LDFLAGS", "LDSHARED"])
def test_another_option_is_a_change(
    name: str, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stamped(repository, tmp_path / "tree")
    monkeypatch.setenv(name, "-O0")
    assert not native_tree.is_fresh(repository, tmp_path / "tree")


def test_another_compiler_is_a_change_and_so_is_its_version(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tmp_path / "tree"
    _stamped(repository, tree)
    compiler = tmp_path / "compiler"
    compiler.write_text("#!/bin/sh\necho 12.2\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", f"{compiler} -pthread")
    assert not native_tree.is_fresh(repository, tree)
    _stamped(repository, tree)
    assert native_tree.is_fresh(repository, tree)
    compiler.write_text("#!/bin/sh\necho 13.1\n")
    assert not native_tree.is_fresh(repository, tree)


def test_without_a_compiler_there_is_a_fingerprint_too(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = native_tree.fingerprint(repository)
    monkeypatch.setenv("CC", "no-such-compiler")
    assert native_tree.fingerprint(repository) != before


def test_a_tree_that_was_not_finished_is_not_fresh(repository: Path, tmp_path: Path) -> None:
    native_tree.copy(repository, tmp_path / "tree")
    assert not native_tree.is_fresh(repository, tmp_path / "tree")


def test_a_fresh_tree_is_not_built(repository: Path, tmp_path: Path) -> None:
    told: list[str] = []
    _stamped(repository, tmp_path / "tree")
    assert native_tree.build(told.append, repository, tmp_path / "tree") == tmp_path / "tree"
    assert told == []


def test_what_cannot_be_built_is_told(repository: Path, tmp_path: Path) -> None:
    (repository / "setup.py").write_text("raise SystemExit('this compiler is broken')\n")
    with pytest.raises(RuntimeError, match="this compiler is broken"):
        native_tree.build(lambda line: None, repository, tmp_path / "tree")
    assert not native_tree.is_fresh(repository, tmp_path / "tree")


def test_compiled_modules_of_the_working_tree_are_not_taken_over(repository: Path, tmp_path: Path) -> None:
    (repository / _LIBRARY).write_text("")
    (tmp_path / "tree" / "old").mkdir(parents=True)
    native_tree.copy(repository, tmp_path / "tree")
    assert not (tmp_path / "tree" / "old").exists()
    assert not (tmp_path / "tree" / _LIBRARY).exists()
    assert (repository / _LIBRARY).exists()


def test_without_a_compiler_only_the_pure_variant_takes_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    told: list[str] = []
    found, missing = ours.variants(told.append)
    assert list(found) == [PURE]
    assert "needs the C compiler" in missing
    assert told == [f"only the pure variant: {missing}"]


def test_each_variant_finds_its_own_tree_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_tree, "missing_tools", str)
    monkeypatch.setattr(native_tree, "build", lambda tell: native_tree.TREE)
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    found, missing = ours.variants(lambda line: None)
    assert missing == ""
    assert {name: command.env and command.env["PYTHONPATH"] for name, command in found.items()} == {
        SIDECAR: str(native_tree.TREE),
        PURE: str(REPOSITORY),
    }


def test_no_variant_compiles_its_sources_at_each_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_tree, "missing_tools", str)
    monkeypatch.setattr(native_tree, "build", lambda tell: native_tree.TREE)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    found, _ = ours.variants(lambda line: None)
    for command in [*found.values(), sidecar_command()]:
        assert command.env is not None
        assert "PYTHONDONTWRITEBYTECODE" not in command.env
        assert command.env["PYTHONPYCACHEPREFIX"] == str(REPOSITORY / ".pycache")


def _maps(*paths: object) -> str:
    lines = ["7f00-7f01 r-xp 00000000 fe:00 12 /usr/lib/libc.so.6", "7f02-7f03 rw-p 00000000 00:00 0 "]
    return "\n".join(
        [*lines, *(f"7f04-7f05 r-xp 00000000 fe:00 123                        {path}" for path in paths)]
    )


def test_libraries_are_found_in_maps() -> None:
    path = native_tree.TREE / _LIBRARY
    assert ours.loaded(_maps()) == set()
    assert ours.loaded(_maps(path, path)) == {path}
    assert ours.loaded(_maps("/with a space/" + _LIBRARY)) == {Path("/with a space") / _LIBRARY}


def test_a_variant_is_what_its_name_says() -> None:
    ours.check(SIDECAR, {native_tree.TREE / _LIBRARY})
    ours.check(PURE, set())


@pytest.mark.parametrize(
    ("name", "libraries", "said"),
    [
        (SIDECAR, set(), "no compiled modules"),
        (SIDECAR, {REPOSITORY / _LIBRARY}, "not those of"),
        (SIDECAR, {native_tree.TREE / _LIBRARY, Path("/site-packages") / _LIBRARY}, "site-packages"),
        (PURE, {native_tree.TREE / _LIBRARY}, "make pure"),
    ],
)
def test_any_other_is_an_error(name: str, libraries: set[Path], said: str) -> None:
    with pytest.raises(RuntimeError, match=said):
        ours.check(name, libraries)
