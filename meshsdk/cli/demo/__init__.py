"""`meshsdk demo`: a mesh of real processes on this machine, and what is true of it."""

import argparse
import asyncio
import signal
import tempfile
from contextlib import AsyncExitStack
from importlib.util import find_spec
from pathlib import Path

from meshsdk.cli.demo import shop
from meshsdk.cli.demo.child import Child
from meshsdk.cli.demo.claims import Claim, Running, all_claims
from meshsdk.cli.demo.report import Json, Report, Text
from meshsdk.clock import SystemClock
from meshsdk.control_plane.ads_server import AdsServer
from meshsdk.errors import UsageError
from meshsdk.testing.ca import FakeCa

_SERVICE = "meshsdk.cli.demo.service"
_CALLER = "meshsdk.cli.demo.caller"
_INTRODUCTION = """\
  control plane   this process: xDS, and a CA for the trust domain {trust_domain}
  reviews         three servers: v1 on ports {v1}, v2 on {v2}
                  they take mTLS only, and calls from frontend only
  frontend        a client of {url}
  batch           another one, which policy does not allow
"""


def configure(command: argparse.ArgumentParser) -> None:
    """Add the options."""
    command.add_argument("--json", action="store_true", help="print one JSON object, at the end")
    command.add_argument(
        "--keep", action="store_true", help="leave the mesh running until Ctrl-C, to look around"
    )


def run(options: argparse.Namespace) -> int:
    """Start the mesh, try every claim, end it. 0 when all of them hold."""
    if find_spec("uvicorn") is None:
        raise UsageError("its servers need uvicorn: pip install 'meshsdk[demo]'")
    try:
        return asyncio.run(_run(Json() if options.json else Text(), keep=options.keep))
    except asyncio.CancelledError:
        return 128 + signal.SIGTERM


async def _run(report: Report, *, keep: bool) -> int:
    task = asyncio.current_task()
    if task is not None:  # as with Ctrl-C, so that no file and no process is left
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    started = SystemClock.monotonic()
    report.heading("meshsdk demo: a service mesh of six processes on this machine, no sidecars")
    report.line("starting ...")
    report.line()
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="meshsdk-demo-")))
        mesh = await _start(directory, stack)
        _introduce(report, mesh)
        claims: list[Claim] = []
        async for claim in all_claims(mesh):
            report.progress(claim)
            claims.append(claim)
        report.verdict(claims, SystemClock.monotonic() - started)
        if keep:
            await _stay(report, mesh, directory)
    return 0 if all(claim.holds for claim in claims) else 1


async def _start(directory: Path, stack: AsyncExitStack) -> Running:
    """The control plane, then all processes at once; each child tells its port, and is told
    what the mesh is."""
    ca = FakeCa(shop.TRUST_DOMAIN)
    server = AdsServer()
    socket = f"unix://{directory}/ads.sock"
    server.listen(socket)
    stack.enter_context(server)

    async def start(module: str, workload: shop.Workload) -> Child:
        credentials = directory / workload.name
        ca.write(credentials, f"{shop.NAMESPACE}/{workload.account}")
        message = {"name": workload.name, "server": socket, "credentials": str(credentials)}
        child = await Child.start(module, message, directory)
        stack.push_async_callback(child.kill)
        return child

    services = [await start(_SERVICE, workload) for workload in shop.REVIEWS]
    frontend, stranger = [await start(_CALLER, workload) for workload in shop.CALLERS]
    ports: dict[str, int] = {}
    for workload, child in zip(shop.REVIEWS, services, strict=True):
        ports[workload.name] = int(str((await child.receive())["port"]))
        server.set(workload.node.id, shop.server_resources(ports[workload.name]))
    reviews = {child.name: child for child in services}
    mesh = Running(server, frontend, stranger, reviews, ports)
    for workload in shop.CALLERS:
        server.set(workload.node.id, mesh.resources({"v1": 90, "v2": 10}))
    for child in (*services, frontend, stranger):
        await child.receive()
    return mesh


def _introduce(report: Report, mesh: Running) -> None:
    ports: dict[str, list[str]] = {}
    for workload, version in shop.REVIEWS.items():
        ports.setdefault(version, []).append(str(mesh.ports[workload.name]))
    shown = {version: " and ".join(found) for version, found in ports.items()}
    report.line(_INTRODUCTION.format(trust_domain=shop.TRUST_DOMAIN, url=shop.URL, **shown))


async def _stay(report: Report, mesh: Running, directory: Path) -> None:
    report.line()
    report.line("The mesh stays up until Ctrl-C. Join it as frontend:")
    report.line(f"""
  import httpx
  from pathlib import Path
  from meshsdk import Mesh
  from meshsdk.config.bootstrap import Credentials, Node
  from meshsdk.identity.sources.files import CredentialFiles
  from meshsdk.integrations.httpx import MeshTransport

  mesh = Mesh.connect(
      server="unix://{directory}/ads.sock",
      node=Node("{shop.FRONTEND.node.id}"),
      credentials=Credentials(tls=False),
      identity=CredentialFiles.in_directory(Path("{directory}/frontend")),
  )
  with mesh, httpx.Client(transport=MeshTransport(mesh)) as client:
      print(client.get("{shop.URL}").json())
""")
    ended = [child.process.wait() for child in (mesh.frontend, mesh.stranger)]
    await asyncio.gather(*ended)
