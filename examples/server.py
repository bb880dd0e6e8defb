"""A server in the mesh that the environment names; it tells each caller who that is.

python examples/server.py 9080
"""

import sys
from collections.abc import Awaitable, Callable, MutableMapping

import uvicorn

from meshsdk import current_peer
from meshsdk.integrations.asgi import MeshMiddleware

Message = MutableMapping[str, object]


async def whoami(
    scope: Message,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """Any ASGI application: FastAPI, Starlette, Django, or a function like this."""
    if scope["type"] != "http":
        return
    caller = str(current_peer().spiffe_id).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": caller})


uvicorn.run(MeshMiddleware(whoami), host="127.0.0.1", port=int(sys.argv[1]))
