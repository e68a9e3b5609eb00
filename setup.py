"""Extension modules of the hot path, built only when SIDECAR_NATIVE=1. Everything else is in pyproject.toml.

mypyc compiles the Python files that `tool.sidecar.native` names, each to a module beside its source, which Python then
prefers. The source stays the truth: without the extensions everything works the same, only slower.
"""

from __future__ import annotations

import os
import re
import shutil
import sysconfig
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
GENERATED = Path("build", "native")

#: Of mypyc's own functions those that only errors call.
COLD = (
    "CPy_AddTraceback",
    "CPy_AttributeError",
    "CPy_Raise",
    "CPy_TypeError",
    "CPy_TypeErrorTraceback",
    "CPyError_OutOfMemory",
)


def sources() -> list[str]:
    """What is to be compiled, in a stable order. Packages (`__init__`) stay interpreted."""
    native = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["sidecar"]["native"]
    found = {path for pattern in native["compiled"] for path in ROOT.glob(pattern) if path.stem != "__init__"}
    return sorted({path.relative_to(ROOT).as_posix() for path in found} - set(native["interpreted"]))


def check_tools() -> None:
    """Exits with what to install."""
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(os.environ.get("CC", compiler).split()[0]) is None:
        raise SystemExit(
            f"SIDECAR_NATIVE=1 needs the C compiler {compiler} (Debian: apt-get install gcc libc6-dev)"
        )
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        raise SystemExit("SIDECAR_NATIVE=1 needs the headers of Python (Debian: apt-get install python3-dev)")
    try:
        import mypyc  # noqa: F401
    except ImportError:
        raise SystemExit(
            "SIDECAR_NATIVE=1 needs mypy in this environment: pip install -c constraints.txt mypy types-protobuf types-PyYAML, "
            "then pip install --no-build-isolation"
        ) from None


def cold_header() -> str:
    """Read before each file: who calls these has an error on his hands, so the compiler puts that code aside, and what runs for
    each request fills fewer lines of the caches."""
    import mypyc

    declarations = Path(mypyc.__file__).with_name("lib-rt").joinpath("CPy.h").read_text(encoding="utf-8")
    found = [re.search(rf"^void {name}\([^;]*;", declarations, re.MULTILINE) for name in COLD]
    lines = [f"__attribute__((cold)) {each[0]}" for each in found if each is not None]
    return "\n".join(("#define PY_SSIZE_T_CLEAN", "#include <Python.h>", *lines, ""))


def extensions() -> list[Extension]:
    from mypyc.build import mypycify

    # All in one group: calls between modules are direct. Its library lies in a package of ours, so that it is found wherever
    # the packages are found. Warnings stay errors: `maybe-uninitialized` in what mypyc wrote has been a crash.
    shutil.rmtree(GENERATED, ignore_errors=True)  # what is no longer listed must not be found
    made: list[Extension] = mypycify(
        sources(),
        opt_level="2",
        debug_level="0",
        multi_file=True,
        group_name="sidecar.native",
        target_dir=str(GENERATED),
    )
    cold = GENERATED / "cold.h"
    cold.write_text(cold_header(), encoding="utf-8")
    for extension in made:
        extension.depends.append(str(cold))
        extension.include_dirs.append(str(GENERATED / "sidecar"))  # where the header of the group is
        extension.extra_compile_args += [
            "-fno-plt",  # calls of Python's own functions: 5 % of a request
            "-fvisibility=hidden",  # calls between our modules, and their data: no table of addresses between
            *("-include", str(cold)),
        ]
        extension.extra_link_args = ["-s"]  # a third of the size
    return made


class ParallelBuild(build_ext):
    """Compiles the files of an extension side by side: nearly all of them belong to one."""

    def build_extensions(self) -> None:
        compile_one = self.compiler.compile

        def compile_all(files: list[str], *args: Any, **kwargs: Any) -> list[str]:
            with ThreadPoolExecutor(os.cpu_count()) as workers:
                objects = workers.map(lambda file: compile_one([file], *args, **kwargs), files)
                return [name for names in objects for name in names]

        self.compiler.compile = compile_all
        super().build_extensions()


if __name__ == "__main__":  # others ask what is compiled, and whether it can be
    native = os.environ.get("SIDECAR_NATIVE") == "1"
    if native:
        check_tools()
    setup(ext_modules=extensions() if native else [], cmdclass={"build_ext": ParallelBuild})
