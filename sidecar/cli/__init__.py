"""The command `sidecar`, for people. `sidecar-proxy` is the one for machines.

sidecar run FILE        run a proxy from a workload file or a bootstrap
sidecar validate FILE   say what is wrong with either, or that nothing is
sidecar expand FILE     print the bootstrap that a workload file stands for
sidecar demo            a pair of sidecars with traffic, on this machine
sidecar why UC          explain a response flag; with --admin, show what failed in a running proxy
sidecar health          ask a running proxy whether it is ready (for health checks)
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from sidecar.version import NATIVE, VERSION


def main(arguments: Sequence[str] | None = None) -> None:
    """Exit code 0: done; 1: what was asked failed; 2: the command line is wrong."""
    parser = _parser()
    given = sys.argv[1:] if arguments is None else arguments
    if not given:
        parser.print_help()
        sys.exit(2)
    known = parser.parse_args(given)
    try:
        sys.exit(_run(known))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `sidecar expand FILE | head`
        sys.stderr.close()
        sys.exit(0)


def _run(known: argparse.Namespace) -> int:
    """Heavy libraries are imported by the command that needs them."""
    if known.command == "demo":
        from sidecar.cli.demo import demo

        return demo(once=known.once, directory=known.dir, requests=known.requests)
    if known.command == "health":
        from sidecar.cli.health import health

        return health(known.admin, known.timeout)
    if known.command == "why":
        from sidecar.cli.why import why

        return why(known.words, known.admin, known.timeout)
    from sidecar.cli import files

    if known.command == "expand":
        return files.expand(known.file)
    if known.command == "validate":
        return files.validate(known.file)
    return files.run(known.file, known.arguments)


def _positive(text: str) -> int:
    """A number of things to do."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sidecar",
        usage="sidecar COMMAND ...",
        description="Run, check and explore a sidecar proxy on this machine.",
        epilog="sidecar COMMAND --help tells more. A good start: sidecar demo",
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"sidecar {VERSION} ({'compiled' if NATIVE else 'pure Python'})",
    )
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", title="commands", prog="sidecar"
    )

    run = commands.add_parser("run", help="run a proxy from a workload file or a bootstrap")
    run.add_argument("file", metavar="FILE")
    run.add_argument(
        "arguments",
        nargs=argparse.REMAINDER,
        metavar="...",
        help="further arguments of sidecar-proxy, for example -l debug",
    )
    validate = commands.add_parser("validate", help="check a workload file or a bootstrap")
    validate.add_argument("file", metavar="FILE")
    expand = commands.add_parser("expand", help="print the bootstrap that a workload file stands for")
    expand.add_argument("file", metavar="FILE")

    demo = commands.add_parser("demo", help="two workloads with a sidecar each, and traffic through both")
    demo.add_argument(
        "--once", action="store_true", help="end after the table; exit code 1 if a series is missing"
    )
    demo.add_argument(
        "--dir",
        metavar="DIR",
        help="where to leave configurations and logs (default: a new directory; with --once none)",
    )
    demo.add_argument(
        "--requests", type=_positive, default=10, metavar="N", help="how many HTTP requests (default 10)"
    )

    _add_questions(commands)
    return parser


def _add_questions(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """What is asked of a running proxy, or about one."""
    why = commands.add_parser("why", help="explain response flags, or show what failed in a running proxy")
    why.add_argument(
        "words",
        nargs="*",
        metavar="FLAG",
        help="UC, several as UF,URX, or response code details, or a kind of failure; default: all",
    )
    why.add_argument(
        "--admin",
        metavar="ADDRESS:PORT",
        help="show the last failures of the proxy with this admin address (of these flags or kinds)",
    )
    why.add_argument(
        "--timeout", type=float, default=3.0, metavar="S", help="seconds to wait for its answer (default 3)"
    )

    health = commands.add_parser("health", help="exit code 0 when a running proxy is ready")
    health.add_argument(
        "--admin",
        default="127.0.0.1:15000",
        metavar="ADDRESS:PORT",
        help="its admin address (default 127.0.0.1:15000)",
    )
    health.add_argument(
        "--timeout", type=float, default=3.0, metavar="S", help="seconds to wait for its answer (default 3)"
    )
