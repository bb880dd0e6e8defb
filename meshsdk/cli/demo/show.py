"""The run of the demo: start the mesh, try every claim, end it."""

import argparse
import asyncio
import logging
import signal
import tempfile
from contextlib import AsyncExitStack
from importlib.util import find_spec
from pathlib import Path

from meshsdk.cli.demo.claims import Claim, all_claims
from meshsdk.cli.demo.members import FRONTEND, MEMBERS, TRUST_DOMAIN
from meshsdk.cli.demo.report import Json, Report, Text
from meshsdk.cli.demo.running import Running
from meshsdk.clock import SystemClock
from meshsdk.errors import UsageError

_INTRODUCTION = """\
  control plane   {address}, xDS and CA, from the Istio YAML in
                  {config}
  processes       {members}
                  each with a certificate of its own in the trust domain {trust_domain}
"""


def run(options: argparse.Namespace) -> int:
    """Start the mesh, try every claim, end it. 0 when all of them hold."""
    if find_spec("uvicorn") is None:
        raise UsageError("its servers need uvicorn: pip install 'meshsdk[demo]'")
    logging.getLogger("meshsdk.control_plane").setLevel(logging.ERROR)
    try:
        return asyncio.run(_run(Json() if options.json else Text(), keep=options.keep))
    except asyncio.CancelledError:
        return 128 + signal.SIGTERM


async def _run(report: Report, *, keep: bool) -> int:
    task = asyncio.current_task()
    if task is not None:  # as with Ctrl-C, so that no file and no process is left
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    started = SystemClock.monotonic()
    report.heading(
        f"meshsdk demo: a service mesh of {len(MEMBERS) + 1} processes on this machine, no sidecars"
    )
    report.line("starting ...")
    report.line()
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="meshsdk-demo-")))
        mesh = await Running.start(directory, stack)
        _introduce(report, mesh)
        claims: list[Claim] = []
        async for claim in all_claims(mesh):
            report.progress(claim)
            claims.append(claim)
        report.verdict(claims, SystemClock.monotonic() - started)
        if keep:
            await _stay(report, mesh)
    return 0 if all(claim.holds for claim in claims) else 1


def _introduce(report: Report, mesh: Running) -> None:
    report.line(
        _INTRODUCTION.format(
            address=mesh.control_plane,
            config=mesh.directory / "config",
            members=", ".join(member.name for member in MEMBERS),
            trust_domain=TRUST_DOMAIN,
        )
    )


async def _stay(report: Report, mesh: Running) -> None:
    config = mesh.directory / "config"
    report.line()
    report.line("The mesh stays up until Ctrl-C. From outside, through frontend and api-gateway:")
    report.line(f"\n  curl http://127.0.0.1:{mesh.ports[FRONTEND]}/\n")
    report.line(f"Edit the YAML and look again: {config}")
    ended = [child.process.wait() for child in mesh.children.values() if child.is_alive]
    await asyncio.gather(*ended)
