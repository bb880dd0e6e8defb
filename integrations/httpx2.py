"""httpx2 in the mesh: `httpx2.Client(transport=MeshTransport())`, and the same for AsyncClient."""

import ssl
from collections.abc import AsyncIterator, Iterator
from functools import partial

import httpx2

from meshsdk.integrations.httpx_api import (
    Answer,
    AsyncAdapter,
    Cert,
    Errors,
    LocalReplies,
    SyncAdapter,
)
from meshsdk.upstream.async_calls import AsyncBody
from meshsdk.upstream.calls import Membership
from meshsdk.upstream.sync_calls import SyncBody

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
        self._adapter = SyncAdapter(mesh, local_replies, _ERRORS, make)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """As httpx2.BaseTransport."""
        stream = request.stream
        whole = b"".join(stream) if type(stream) is httpx2.ByteStream else None
        answer = self._adapter.call(request, whole)
        body = answer.body
        if body is None:
            return _WholeResponse(answer)
        return httpx2.Response(
            answer.status,
            headers=answer.headers,
            stream=_Stream(body),
            extensions=answer.extensions,
        )

    def close(self) -> None:
        """As httpx2.BaseTransport. The last one of a mesh to close takes idle connections along."""
        self._adapter.close()


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
        self._adapter = AsyncAdapter(mesh, local_replies, _ERRORS, make)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """As httpx2.AsyncBaseTransport."""
        stream = request.stream
        whole = b"".join(stream) if type(stream) is httpx2.ByteStream else None
        answer = await self._adapter.call(request, whole)
        body = answer.body
        if body is None:
            return _WholeResponse(answer)
        return httpx2.Response(
            answer.status,
            headers=answer.headers,
            stream=_AsyncStream(body),
            extensions=answer.extensions,
        )

    async def aclose(self) -> None:
        """As `MeshTransport.close`, for the running event loop."""
        self._adapter.close()


class _WholeResponse(httpx2.Response):
    """A response whose body is here already: reading it needs no detour over iterators."""

    def __init__(self, answer: Answer[SyncBody] | Answer[AsyncBody]) -> None:
        data = answer.content or b""
        super().__init__(
            answer.status,
            headers=answer.headers,
            stream=httpx2.ByteStream(data),
            extensions=answer.extensions,
        )
        self._whole = None if "content-encoding" in self.headers else data

    def read(self) -> bytes:
        """As `httpx2.Response.read`."""
        data = self._whole
        if data is None or self.is_stream_consumed or self.is_closed:
            return super().read()
        self._take(data)
        self.close()
        return data

    async def aread(self) -> bytes:
        """As `httpx2.Response.aread`."""
        data = self._whole
        if data is None or self.is_stream_consumed or self.is_closed:
            return await super().aread()
        self._take(data)
        await self.aclose()
        return data

    def _take(self, data: bytes) -> None:
        self._content = data
        self._num_bytes_downloaded = len(data)
        self.is_stream_consumed = True


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
