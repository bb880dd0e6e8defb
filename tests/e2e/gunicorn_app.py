"""What gunicorn loads before it forks: an application in a mesh that is not started yet."""

import os
from pathlib import Path

from meshsdk.identity.sources.files import CredentialFiles
from meshsdk.integrations.asgi import MeshMiddleware
from tests.e2e.one_service import connect
from tests.e2e.serving import Echo, Receive, Scope, Send

mesh = connect(
    int(os.environ["ADS_PORT"]),
    "reviews",
    CredentialFiles.in_directory(Path(os.environ["CREDENTIALS"])),
)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Says which process answers."""
    await Echo(str(os.getpid()))(scope, receive, send)


app = MeshMiddleware(echo, mesh)
