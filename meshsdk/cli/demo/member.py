"""How a child of the demo joins the mesh, as any program would: with `Mesh.connect`."""

from collections.abc import Mapping
from pathlib import Path

from meshsdk.config.bootstrap import Credentials, Node
from meshsdk.identity.sources.files import CredentialFiles
from meshsdk.mesh import Mesh
from meshsdk.runtime.options import Options
from meshsdk.telemetry import Emit


def join(message: Mapping[str, object], node: Node, emit: Emit) -> Mesh:
    """`message`: what the parent says of the control plane and the certificate files."""
    return Mesh.connect(
        server=str(message["server"]),
        node=node,
        credentials=Credentials(tls=False),  # a Unix socket in a directory of our own
        identity=CredentialFiles.in_directory(Path(str(message["credentials"]))),
        options=Options(emit=emit),
    )
