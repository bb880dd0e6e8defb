"""A call's hash from its route's hash policies. Source: Envoy, HashPolicyImpl."""

from typing import Final, assert_never

from meshsdk.call.context import CallContext
from meshsdk.call.message import Request, Response
from meshsdk.matching.cookie import cookies
from meshsdk.matching.query import query_parameters
from meshsdk.matching.xxh64 import xxh64
from meshsdk.resources.hash_policy import (
    CookieHash,
    FilterStateHash,
    HashPolicy,
    HashSource,
    HeaderHash,
    QueryParameterHash,
    SourceIpHash,
)

_MASK: Final = 2**64 - 1


def hash_of(policies: tuple[HashPolicy, ...], request: Request, context: CallContext) -> int | None:
    """The combined hash; None where no policy found anything to hash."""
    combined: int | None = None
    for policy in policies:
        found = _hash(policy.source, request, context)
        if found is not None:
            # Rotated, so that two equal policies do not cancel each other out.
            before = 0 if combined is None else (combined << 1 | combined >> 63) & _MASK
            combined = before ^ found
        if policy.terminal and combined is not None:
            break
    return combined


def _hash(source: HashSource, request: Request, context: CallContext) -> int | None:
    match source:
        case HeaderHash(name, rewrite):
            values = request.field(name)
            if rewrite is not None:
                values = tuple(rewrite.apply(value) for value in values)
            seed = 0
            for value in sorted(values):
                seed = xxh64(value.encode("latin-1"), seed)
            return seed if values else None
        case CookieHash():
            cookie = cookies(request).get(source.name) or made_up_cookie(source, context)
            return xxh64(cookie.encode("latin-1")) if cookie else None
        case SourceIpHash():
            host = context.remote.host
            return xxh64(host.encode()) if host else None
        case QueryParameterHash(name):
            parameter = query_parameters(request.path).get(name)
            return None if parameter is None else xxh64(parameter.encode("latin-1"))
        case FilterStateHash(key):
            state = context.filter_state.get(key)
            return None if state is None else xxh64(state.encode())
        case _:
            assert_never(source)


def made_up_cookie(source: CookieHash, context: CallContext) -> str:
    """The value that a caller without the cookie gets; empty where none is made up."""
    if source.ttl is None:
        return ""
    connection = context.connection
    addresses = f"{connection.peer.connection}{connection.local}"
    return f"{xxh64(addresses.encode()):016x}"


def with_cookies(
    response: Response, policies: tuple[HashPolicy, ...], context: CallContext
) -> Response:
    """The response with the cookies that were made up for its request."""
    request = context.forwarded
    if request is None:
        return response
    sent = cookies(request)
    for policy in policies:
        source = policy.source
        if isinstance(source, CookieHash) and source.ttl is not None and not sent.get(source.name):
            line = _set_cookie(source, made_up_cookie(source, context))
            response = response.with_headers(response.headers.add("set-cookie", line))
        if policy.terminal:
            break
    return response


def _set_cookie(source: CookieHash, value: str) -> str:
    """Envoy, Http::Utility::makeSetCookieValue."""
    parts = [f'{source.name}="{value}"']
    if source.ttl:
        parts.append(f"Max-Age={int(source.ttl)}")
    if source.path:
        parts.append(f"Path={source.path}")
    parts.extend(f"{name}={text}" if text else name for name, text in source.attributes)
    parts.append("HttpOnly")
    return "; ".join(parts)
