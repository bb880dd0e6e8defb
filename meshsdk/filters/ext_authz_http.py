"""The HTTP authorization service: the call itself, without its body, and what comes back for it.

Source: Envoy, RawHttpClientImpl; observed with Envoy 1.40.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from meshsdk.call.context import CallContext
from meshsdk.call.effects import BodyRead, Fetch, Fetched, Flow
from meshsdk.call.headers import Headers, Pair
from meshsdk.call.message import Request
from meshsdk.config.fields import MessageTable, check, honoured, refused
from meshsdk.config.reader import Reader
from meshsdk.filters.ext_authz_answer import (
    ERROR,
    HOP_BY_HOP,
    Allowed,
    Answer,
    Refusal,
    sendable_status,
)
from meshsdk.filters.ext_authz_check import Shown
from meshsdk.filters.side_service import parse_http_uri
from meshsdk.matching.octets import lower, octets
from meshsdk.matching.strings import Exact, StringMatcher, parse_string_matcher
from meshsdk.resources.format_values import Values
from meshsdk.resources.header_mutations import HEADER_VALUE
from meshsdk.resources.substitution_format import Format, parse_header_format

SERVICE: Final = MessageTable(
    "envoy.extensions.filters.http.ext_authz.v3.HttpService",
    {
        **honoured(
            "server_uri",
            "path_prefix",
            "path_override",
            "authorization_request",
            "authorization_response",
        ),
        "retry_policy": refused("a check is made once; retries of side calls are not built"),
    },
    security=True,
)
REQUEST: Final = MessageTable(
    "envoy.extensions.filters.http.ext_authz.v3.AuthorizationRequest",
    honoured("allowed_headers", "headers_to_add"),
    security=True,
)
RESPONSE: Final = MessageTable(
    "envoy.extensions.filters.http.ext_authz.v3.AuthorizationResponse",
    honoured(
        "allowed_upstream_headers",
        "allowed_upstream_headers_to_append",
        "allowed_client_headers",
        "allowed_client_headers_on_success",
        "dynamic_metadata_from_headers",
    ),
    security=True,
)
LIST: Final = MessageTable(
    "envoy.type.matcher.v3.ListStringMatcher", honoured("patterns"), security=True
)
TABLES: Final = (SERVICE, REQUEST, RESPONSE, LIST)

Matchers = tuple[StringMatcher, ...]
_TO_REMOVE: Final = "x-envoy-auth-headers-to-remove"
_NO_FIELDS: Final[Matchers] = ()
# Shown whatever the lists say.
ALWAYS_SHOWN: Final = ("authorization", ":method", ":path", ":authority")
# Passed on to the caller beside those on its list.
_ALWAYS_TOLD: Final = (":status", "content-length", "www-authenticate", "location")
_LARGEST: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class HttpAuthorization:
    """Asks by HTTP."""

    cluster: str
    timeout: float | None
    path_prefix: str = ""
    path_override: str = ""
    headers_to_add: tuple[tuple[str, Format], ...] = ()
    upstream: Matchers = ()
    upstream_append: Matchers = ()
    client_on_denied: Matchers | None = None
    """None: every field."""
    client_on_allowed: Matchers = ()
    metadata: Matchers = ()

    def request(
        self, request: Request, shown: Shown, body: BodyRead | None, context: CallContext
    ) -> Fetch:
        """The side call for a call."""
        data = b"" if body is None else body.data
        pairs = [
            pair
            for pair in shown.fields(request, body)
            if not pair[0].startswith(":") and pair[0] != "content-length"
        ]
        headers = Headers((("content-length", str(len(data))), *pairs))
        values = Values(context, request)
        for name, text in self.headers_to_add:
            headers = headers.set(name, text.render(values))
        path = self.path_override or self.path_prefix + request.path
        asked = Request(request.method, request.authority, path, headers, has_body=bool(data))
        return Fetch(self.cluster, asked, data, self.timeout, _LARGEST)

    def answer(self, fetched: Fetched) -> Answer:
        """What a response says: 200 allows, 5xx is an error, everything else denies."""
        response = fetched.response
        if 500 <= response.status <= 599:
            return ERROR
        pairs = [pair for pair in response.headers.pairs if pair[0] not in HOP_BY_HOP]
        pairs = [(lower(name), value) for name, value in pairs if name != _TO_REMOVE]
        metadata: dict[str, object] = dict(_matching(pairs, self.metadata))
        if response.status != 200:
            told = pairs if self.client_on_denied is None else self._told(pairs)
            status = response.status if sendable_status(response.status) else None
            return Refusal(status, fetched.body, tuple(told), metadata=metadata)
        return Allowed(
            set=_matching(pairs, self.upstream),
            add=_matching(pairs, self.upstream_append),
            remove=tuple(
                name
                for line in response.headers.values(_TO_REMOVE)
                for part in line.split(",")
                if (name := lower(part.strip()))
            ),
            response_add=_matching(pairs, self.client_on_allowed),
            metadata=metadata,
        )

    def _told(self, pairs: Iterable[Pair]) -> list[Pair]:
        told = self.client_on_denied or ()
        return [p for p in pairs if p[0] in _ALWAYS_TOLD or any(m.matches(p[0]) for m in told)]

    def ask(
        self,
        request: Request,
        shown: Shown,
        body: BodyRead | None,
        context: CallContext,
        extensions: Mapping[str, str],
    ) -> Flow[Answer]:
        """The service's answer; an error where none came. It is told of no extensions."""
        del extensions
        fetched = yield self.request(request, shown, body, context)
        return self.answer(fetched) if isinstance(fetched, Fetched) else ERROR


def _matching(pairs: Iterable[Pair], matchers: Matchers) -> tuple[Pair, ...]:
    if not matchers:
        return ()
    return tuple(pair for pair in pairs if any(m.matches(pair[0]) for m in matchers))


def parse_http_authorization(reader: Reader) -> tuple[HttpAuthorization, Matchers]:
    """The service, and which request fields it is shown beyond the filter's own list."""
    check(reader, SERVICE)
    cluster, timeout = parse_http_uri(reader.required_message("server_uri"))
    prefix, override = (octets(reader.string(n)) for n in ("path_prefix", "path_override"))
    for name, path in (("path_prefix", prefix), ("path_override", override)):
        if path and not path.startswith("/"):
            raise reader.error_at(name, f"expected a path that begins with /, found {path!r}")
    if prefix and override:
        raise reader.error("path_prefix and path_override exclude each other")
    asked, told = reader.message("authorization_request"), reader.message("authorization_response")
    shown: Matchers = ()
    to_add: tuple[tuple[str, Format], ...] = ()
    if asked is not None:
        check(asked, REQUEST)
        shown = parse_list(asked, "allowed_headers") or ()
        to_add = asked.each("headers_to_add", _header)
    service = HttpAuthorization(cluster, timeout, prefix, override, to_add)
    return (service if told is None else _with_response(service, told)), shown


def _with_response(service: HttpAuthorization, reader: Reader) -> HttpAuthorization:
    check(reader, RESPONSE)
    return HttpAuthorization(
        service.cluster,
        service.timeout,
        service.path_prefix,
        service.path_override,
        service.headers_to_add,
        parse_list(reader, "allowed_upstream_headers") or _NO_FIELDS,
        parse_list(reader, "allowed_upstream_headers_to_append") or _NO_FIELDS,
        parse_list(reader, "allowed_client_headers") or None,
        parse_list(reader, "allowed_client_headers_on_success") or _NO_FIELDS,
        parse_list(reader, "dynamic_metadata_from_headers") or _NO_FIELDS,
    )


def _header(reader: Reader) -> tuple[str, Format]:
    check(reader, HEADER_VALUE)
    text = parse_header_format(reader.string("value"), f"{reader.path}.value")
    if text.not_built:
        raise reader.error_at("value", f"{text.not_built[0]} is not built")
    return lower(octets(reader.required_string("key"))), text


def parse_list(reader: Reader, name: str) -> Matchers | None:
    """A ListStringMatcher field; None when unset."""
    found = reader.message(name)
    if found is None:
        return None
    check(found, LIST)
    return found.each("patterns", parse_string_matcher, at_least=1)


def always_shown() -> Matchers:
    """The matchers of what an HTTP service sees in any case."""
    return tuple(Exact(name) for name in ALWAYS_SHOWN)
