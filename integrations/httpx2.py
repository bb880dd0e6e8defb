"""httpx2 in the mesh: `httpx2.Client(transport=MeshTransport())`, and the same for AsyncClient."""

import ssl
from collections.abc import AsyncIterator, Iterator
from functools import partial

import httpx2

from meshsdk.call.message import Reset, Response
from meshsdk.integrations.httpx_api import (
    Cert,
    Errors,
    LocalReplies,
    Settings,
    async_extensions,
    async_source,
    sync_extensions,
    sync_source,
)
from meshsdk.upstream.aio import AnyPools
from meshsdk.upstream.async_calls import AsyncBody, AsyncCall
from meshsdk.upstream.body import RequestBody
from meshsdk.upstream.calls import Membership
from meshsdk.upstream.sync import SyncUpstream
from meshsdk.upstream.sync_calls import SyncBody, SyncCall

__all__ = ["AsyncMeshTransport", "MeshTransport"]

_ERRORS = Errors(
    connect=httpx2.ConnectError,
    connect_timeout=httpx2.ConnectTimeout,
    read=httpx2.ReadError,
    read_timeout=httpx2.ReadTimeout,
    write_timeout=httpx2.WriteTimeout,
    pool_timeout=httpx2.PoolTimeout,
    local_protocol=httpx2.LocalProtocolError,
    remote_protocol=httpx2.RemoteProtocolError,
    unsupported_protocol=httpx2.UnsupportedProtocol,
)


class MeshTransport(httpx2.BaseTransport):
    """Sends through the mesh. Any number of threads; connections belong to the mesh.

    `mesh` None: the process's own, `Mesh.connect()`. `local_replies="raise"`: a call that failed
    raises httpx2's exception instead of answering Envoy's 503 and its kin. `verify`, `cert` and
    `trust_env` are httpx2's, for `https://` that the mesh passes through.
    """

    def __init__(
        self,
        mesh: Membership | None = None,
        *,
        local_replies: LocalReplies = "response",
        verify: ssl.SSLContext | str | bool = True,
        cert: Cert = None,
        trust_env: bool = True,
    ) -> None:
        make = partial(httpx2.create_ssl_context, verify=verify, cert=cert, trust_env=trust_env)
        self._settings = Settings(mesh, local_replies, _ERRORS, make)
        self._upstream: SyncUpstream | None = None

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """As httpx2.BaseTransport."""
        settings, stream = self._settings, request.stream
        if type(stream) is httpx2.ByteStream:
            body = RequestBody(b"".join(stream))
        else:
            body = sync_source(stream)
        try:
            wanted = settings.wanted(
                request.method, request.url, request.headers, body, request.extensions
            )
            call = SyncCall(settings.mesh, wanted)
            if call.upstream is not self._upstream:
                self._upstream = call.upstream
                call.upstream.users.add(self)
            outcome = call.run()
        except Exception as error:
            _ERRORS.reraise(error)
        if isinstance(outcome, Reset):
            raise _ERRORS.of_reset(outcome)
        return self._response(call, outcome)

    def _response(self, call: SyncCall, response: Response) -> httpx2.Response:
        extensions = sync_extensions(call, response)
        content = call.take_whole(response)
        if content is None:
            stream: httpx2.SyncByteStream = _Stream(SyncBody(call, response))
        else:
            self._settings.refuse(response, call.context)
            stream = httpx2.ByteStream(content)
        return httpx2.Response(
            response.status, headers=response.headers.raw(), stream=stream, extensions=extensions
        )

    def close(self) -> None:
        """As httpx2.BaseTransport. The last one of a mesh to close takes idle connections along."""
        if self._settings.is_started:
            self._settings.mesh.sync_upstream.release(self)


class AsyncMeshTransport(httpx2.AsyncBaseTransport):
    """`MeshTransport` for AsyncClient: asyncio, uvloop and trio, any number of event loops."""

    def __init__(
        self,
        mesh: Membership | None = None,
        *,
        local_replies: LocalReplies = "response",
        verify: ssl.SSLContext | str | bool = True,
        cert: Cert = None,
        trust_env: bool = True,
    ) -> None:
        make = partial(httpx2.create_ssl_context, verify=verify, cert=cert, trust_env=trust_env)
        self._settings = Settings(mesh, local_replies, _ERRORS, make)
        self._pools: AnyPools | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """As httpx2.AsyncBaseTransport."""
        settings, stream = self._settings, request.stream
        if type(stream) is httpx2.ByteStream:
            body = RequestBody(b"".join(stream))
        else:
            body = async_source(stream)
        try:
            wanted = settings.wanted(
                request.method, request.url, request.headers, body, request.extensions
            )
            call = AsyncCall(settings.mesh, wanted)
            if call.pools is not self._pools:
                self._pools = call.pools
                call.pools.users.add(self)
            outcome = await call.run()
        except Exception as error:
            _ERRORS.reraise(error)
        if isinstance(outcome, Reset):
            raise _ERRORS.of_reset(outcome)
        return self._response(call, outcome)

    def _response(self, call: AsyncCall, response: Response) -> httpx2.Response:
        extensions = async_extensions(call, response)
        content = call.take_whole(response)
        if content is None:
            stream: httpx2.AsyncByteStream = _AsyncStream(AsyncBody(call, response))
        else:
            self._settings.refuse(response, call.context)
            stream = httpx2.ByteStream(content)
        return httpx2.Response(
            response.status, headers=response.headers.raw(), stream=stream, extensions=extensions
        )

    async def aclose(self) -> None:
        """As `MeshTransport.close`, for the running event loop."""
        if self._settings.is_started:
            self._settings.mesh.async_upstream.here().release(self)


class _Stream(httpx2.SyncByteStream):
    __slots__ = ("_body",)

    def __init__(self, body: SyncBody) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._body
        except Exception as error:
            _ERRORS.reraise(error)

    def close(self) -> None:
        self._body.close()


class _AsyncStream(httpx2.AsyncByteStream):
    __slots__ = ("_body",)

    def __init__(self, body: AsyncBody) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._body:
                yield piece
        except Exception as error:
            _ERRORS.reraise(error)

    async def aclose(self) -> None:
        self._body.close()
