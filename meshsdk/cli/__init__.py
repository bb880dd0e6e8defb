"""The `meshsdk` command: one module per subcommand, imported when it is asked for."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from meshsdk.errors import MeshError

_COMMANDS = {
    "authz": ("meshsdk.cli.authz", "test authorization policies, and find what is wrong with them"),
    "check": (
        "meshsdk.cli.check",
        "say what a configuration does with requests, or field by field",
    ),
    "control-plane": (
        "meshsdk.cli.control_plane",
        "serve Istio's YAML to a mesh; check it; say what one node would get of it",
    ),
    "demo": ("meshsdk.cli.demo", "show a mesh of real processes on this machine"),
}
"""Module and one line of help."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand; its exit code. 2: it was called wrongly, or met a MeshError."""
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # a reader such as `head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return code


def _run(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="meshsdk", description="A service mesh in your process.")
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    wanted = next((a for a in arguments if not a.startswith("-")), "")
    for name, (module, summary) in _COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        if name == wanted:
            import_module(module).configure(command)
    options = parser.parse_args(arguments)
    if options.version:
        print(import_module("meshsdk").__version__)
        return 0
    if not options.command:
        parser.print_help()
        return 2
    try:
        code: int = import_module(_COMMANDS[options.command][0]).run(options)
    except MeshError as error:
        print(f"meshsdk {options.command}: {error}", file=sys.stderr)
        return 2
    return code
