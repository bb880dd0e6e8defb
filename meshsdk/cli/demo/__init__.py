"""`meshsdk demo`: a mesh of real processes on this machine, and what is true of it.

Its processes import this package: what only the parent needs is imported when it runs.
"""

import argparse
from importlib import import_module


def configure(command: argparse.ArgumentParser) -> None:
    """Add the options."""
    command.add_argument("--json", action="store_true", help="print one JSON object, at the end")
    command.add_argument(
        "--keep", action="store_true", help="leave the mesh running until Ctrl-C, to look around"
    )


def run(options: argparse.Namespace) -> int:
    """Start the mesh, try every claim, end it. 0 when all of them hold."""
    code: int = import_module("meshsdk.cli.demo.show").run(options)
    return code
