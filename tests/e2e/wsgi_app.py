"""What gunicorn serves: a WSGI application that says who calls, in the mesh of the environment."""

from collections.abc import Iterable

from meshsdk import current_peer
from meshsdk.downstream.wsgi_environ import Environ, StartResponse
from meshsdk.integrations.wsgi import MeshMiddleware


def whoami(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("content-type", "text/plain")])
    return [str(current_peer().spiffe_id).encode()]


app = MeshMiddleware(whoami)
