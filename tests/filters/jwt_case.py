"""Given values for the tests of jwt_authn: keys, tokens, configs, and one filter run by hand."""

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from meshsdk.call.address import Address
from meshsdk.call.connection import Connection
from meshsdk.call.context import CallContext
from meshsdk.call.effects import Effect, Flow
from meshsdk.call.filter import Continue, Verdict
from meshsdk.call.headers import Headers
from meshsdk.call.message import LocalReply, Request
from meshsdk.clock import seeded
from meshsdk.config.extension import Extensions, FilterStates, Registry
from meshsdk.config.reader import Reader
from meshsdk.filters import jwt_authn_filter
from meshsdk.filters.jwt_authn_filter import JwtAuthn
from meshsdk.identity import jwt_base64

Json = Mapping[str, object]
NOW = 1_700_000_000
SECRET = b"0123456789abcdef0123456789abcdef"
KEY: Json = {"kty": "oct", "kid": "k", "k": jwt_base64.encode(SECRET)}
CLAIMS: Json = {"iss": "issuer", "sub": "alice", "exp": NOW + 600}
ONE: Json = {"provider_name": "one"}
STRICT = Extensions(Registry("HTTP filter"), Registry("network filter"), Registry("lb"))
ENVOY = Extensions(STRICT.http_filters, STRICT.network_filters, STRICT.lb_policies, compat="envoy")


def jwks(*keys: Json) -> str:
    """A key set as JSON."""
    return json.dumps({"keys": list(keys)})


def token(claims: Json = CLAIMS, header: Json | None = None, secret: bytes = SECRET) -> str:
    """A token signed with HS256, whatever its header says."""
    parts = ({"alg": "HS256", "kid": "k"} if header is None else header, claims)
    signed = ".".join(jwt_base64.encode(json.dumps(part).encode()) for part in parts)
    return f"{signed}.{signature(signed, secret)}"


def signature(signed: str, secret: bytes = SECRET) -> str:
    return jwt_base64.encode(hmac.new(secret, signed.encode(), hashlib.sha256).digest())


def provider(**fields: object) -> Json:
    """A provider; a field that is None is left out."""
    found: dict[str, object] = {
        "issuer": "issuer",
        "local_jwks": {"inline_string": jwks(KEY)},
        **fields,
    }
    return {name: value for name, value in found.items() if value is not None}


def config(requires: Json | None = ONE, one: Json | None = None, **fields: object) -> Json:
    """A filter whose only rule takes every request."""
    rule: dict[str, object] = {"match": {"prefix": "/"}}
    if requires is not None:
        rule["requires"] = requires
    return {"providers": {"one": one or provider()}, "rules": [rule], **fields}


def parse(data: Json, extensions: Extensions = ENVOY) -> JwtAuthn:
    # Keys of its own: an issuer's are shared by all that have the registries.
    return jwt_authn_filter.parse(Reader(data), replace(extensions, filter_states=FilterStates()))


def bearer(*tokens: str) -> Request:
    """A request with one Authorization field for each token."""
    return Request(
        "GET", "h.test", "/", Headers([("authorization", f"Bearer {t}") for t in tokens])
    )


@dataclass
class Time:
    """A clock that stands still."""

    now: float = NOW

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


@dataclass
class Caller:
    """Sends requests through one filter, and answers what it asks for."""

    filter: JwtAuthn
    clock: Time = field(default_factory=Time)
    context: CallContext = field(init=False)

    def begin(self, request: Request) -> Verdict | Flow[Verdict]:
        self.context = CallContext(self.clock, seeded(1), Connection(Address("127.0.0.1", 80)))
        return self.filter.on_request(request, self.context)

    def send(self, request: Request) -> Verdict:
        """The verdict of a filter that asks for nothing."""
        step = self.begin(request)
        assert isinstance(step, Continue | LocalReply)
        return step

    def status(self, request: Request) -> int:
        """200 where the request goes on."""
        verdict = self.send(request)
        return verdict.status if isinstance(verdict, LocalReply) else 200

    @property
    def metadata(self) -> Mapping[str, object]:
        return self.context.dynamic_metadata.get("envoy.filters.http.jwt_authn", {})


def first_effect(flow: object) -> Effect:
    """What a flow asks for first."""
    return next(as_flow(flow))


def as_flow(step: object) -> Flow[Verdict]:
    assert not isinstance(step, Continue | LocalReply), step
    flow: Flow[Verdict] = step  # type: ignore[assignment] # what is no verdict is a flow
    return flow


def finish(flow: Flow[Verdict], reply: object) -> Verdict:
    """Send the last reply; the flow must then be done."""
    try:
        flow.send(reply)  # type: ignore[arg-type] # the test gives what the effect asks for
    except StopIteration as done:
        verdict: Verdict = done.value
        return verdict
    raise AssertionError("the flow asks for more")


def pairs(verdict: Verdict) -> Sequence[tuple[str, str]]:
    """The headers that go on."""
    assert isinstance(verdict, Continue), verdict
    return verdict.request.headers.pairs
