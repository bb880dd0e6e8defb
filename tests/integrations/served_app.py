"""An application for servers in processes of their own: `tests.integrations.served_app:app`.

CREDENTIALS is the directory of its certificate.
"""

import os
from pathlib import Path

from meshsdk.config.yaml import load
from meshsdk.identity.sources.files import CredentialFiles
from meshsdk.integrations.asgi import MeshMiddleware
from meshsdk.mesh import Mesh
from tests.integrations.test_uvicorn import app as inner
from tests.integrations.test_uvicorn_mesh import PERMISSIVE

_directory = Path(os.environ["CREDENTIALS"])
_identity = CredentialFiles(
    _directory / "cert-chain.pem", _directory / "key.pem", _directory / "root-cert.pem"
)
app = MeshMiddleware(inner, Mesh.static(load(PERMISSIVE, "inbound.yaml"), identity=_identity))
