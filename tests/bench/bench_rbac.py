"""What authorization costs, without I/O: `python -m tests.bench.bench_rbac`.

Policies: half name one principal, half a namespace (`.*/ns/X/.*`), and none matches.
"""

from dataclasses import replace

from meshsdk.call.address import Address
from meshsdk.call.certificate import Certificate
from meshsdk.call.connection import Connection, Peer
from meshsdk.call.context import CallContext
from meshsdk.call.effects import CallApp
from meshsdk.call.headers import Headers
from meshsdk.call.message import BodyEnd, LocalReply, Request, Response
from meshsdk.call.spiffe_id import SpiffeId
from meshsdk.clock import SystemClock, SystemRandom
from meshsdk.filters import rbac
from meshsdk.flow.drive import complete
from meshsdk.mesh import Mesh
from meshsdk.runtime.options import Options
from meshsdk.telemetry import silent
from meshsdk.testing.ca import FakeCa
from tests.bench.bench_decisions import microseconds, yardstick
from tests.bench.istio import CALLER, Json, server
from tests.filters.jwt_case import NOW, Time, bearer, config, parse, token
from tests.filters.policy_case import STRICT, build

_ADDRESS = Address("127.0.0.1", 40000)
_CONNECTION = Connection(
    Address("127.0.0.1", 8080),
    Peer(SpiffeId.parse(CALLER), Certificate((CALLER,)), _ADDRESS, _ADDRESS),
    "tls",
    "",
    ("istio-http/1.1", "istio", "http/1.1"),
    "TLSv1.3",
)
_REQUEST = Request("GET", "a.test", "/item/42", Headers([("accept", "*/*"), ("x-tenant", "blue")]))
_RULES = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
_JWT = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"


def _context() -> CallContext:
    return CallContext(SystemClock(), SystemRandom(), _CONNECTION, remote=_ADDRESS)


def policies(count: int) -> Json:
    """That many, of which none matches."""
    found: Json = {}
    for i in range(count):
        name: Json = (
            {"exact": f"spiffe://cluster.local/ns/team-{i}/sa/app"}
            if i % 2 == 0
            else {"safe_regex": {"regex": f".*/ns/team-{i}/.*"}}
        )
        found[f"ns[shop]-policy[p{i:04}]-rule[0]"] = {
            "permissions": [{"any": True}],
            "principals": [{"authenticated": {"principal_name": name}}],
        }
    return found


def decision(count: int) -> float:
    """One engine, none of whose policies matches."""
    enforced = build({"rules": {"policies": policies(count)}}, STRICT).enforced
    assert enforced is not None
    context = _context()
    assert not enforced.decide(_REQUEST, context).allowed
    return microseconds(lambda: enforced.decide(_REQUEST, context))


def whole_filter(count: int) -> float:
    """The filter: metadata, what a record needs, and the answer."""
    http_filter = build({"rules": {"policies": policies(count)}}, STRICT)
    context = _context()

    def work() -> None:
        context.judgements = ()
        assert isinstance(http_filter.on_request(_REQUEST, context), LocalReply)

    return microseconds(work)


def warm_token() -> float:
    """jwt_authn with a token that it knows."""
    http_filter = parse(config())
    context = replace(_context(), clock=Time())
    request = bearer(token())

    def work() -> object:
        context.claims = ()
        return http_filter.on_request(request, context)

    work()
    return microseconds(work)


def inbound() -> float:
    """A whole inbound flow: jwt_authn with its token cached, three RBAC filters, router."""
    typed: Json = {"@type": _JWT, **config()}
    jwt: Json = {"name": "envoy.filters.http.jwt_authn", "typed_config": typed}
    deny: Json = {"action": "DENY", "policies": policies(20)}
    allow: Json = {"policies": {**policies(20), "z": _allow()}}
    log: Json = {"action": "LOG", **allow}
    filters = [jwt, _filter(log), _filter(deny), _filter(allow)]
    mesh = Mesh.static(
        server(8080, filters=filters),
        identity=FakeCa("cluster.local").context("shop/server"),
        options=Options(emit=silent, clock=_Now()),
    )
    request = bearer(token())
    answer = Response(200, Headers([("content-type", "text/plain")]), body=object())

    def work() -> None:
        flow = mesh.inbound(replace(request), _CONNECTION)
        assert isinstance(next(flow), CallApp)
        flow.send(answer)
        complete(flow, BodyEnd(1))

    with mesh:
        return microseconds(work)


class _Now(SystemClock):
    """Real deadlines; the time of day is the tokens'."""

    def time(self) -> float:
        return float(NOW)


def _allow() -> Json:
    return {
        "permissions": [{"any": True}],
        "principals": [{"authenticated": {"principal_name": {"exact": CALLER}}}],
    }


def _filter(rules: Json) -> Json:
    return {"name": rbac.NAMESPACE, "typed_config": {"@type": _RULES, "rules": rules}}


def main() -> None:
    """Print everything."""
    print(f"empty flow                     {yardstick():8.2f} us")
    for count, target in ((1, 5), (100, 10), (1000, 15)):
        print(
            f"RBAC, {count:4} policies            {decision(count):8.2f} us  (target {target} us)"
        )
        print(f"  with metadata and 403        {whole_filter(count):8.2f} us")
    print(f"jwt_authn, token known         {warm_token():8.2f} us  (target 5 us)")
    print(f"inbound, jwt_authn + 3 RBAC    {inbound():8.2f} us  (target 40 us)")


if __name__ == "__main__":
    main()
