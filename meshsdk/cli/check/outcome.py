"""The outcome of a request as `conformance/compare.py` reads it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from meshsdk.call.context import CallContext
from meshsdk.call.message import LocalReply, Outcome, Response
from meshsdk.cli.check.case import FIRST_PORT
from meshsdk.cli.check.upstream import Body, Seen
from meshsdk.flow.cluster_plan import ClusterPlan

Json = dict[str, object]
_NAMESPACES = ("envoy.filters.http.rbac", "envoy.filters.http.jwt_authn")
_MAX_BODY = 400


@dataclass(frozen=True, slots=True)
class Case:
    """What an outcome depends on besides the call."""

    own_clusters: frozenset[str] | None
    """Clusters that the case brings: only their outcomes name endpoints. None: not told apart
    from generated ones, whose endpoints have ports of their own."""

    def is_own(self, cluster: str, port: int) -> bool:
        """Whether an outcome names the endpoint."""
        return port < FIRST_PORT if self.own_clusters is None else cluster in self.own_clusters


def refused(request_id: object, error: str) -> Json:
    """The connection did not come up."""
    return {"id": request_id, "error": error, "status": None, "cluster": None}


def codec_refusal(request_id: object, reply: LocalReply) -> Json:
    """The HTTP codec answered before the connection manager."""
    body = reply.body.decode()
    return {
        "id": request_id,
        "status": reply.status,
        "cluster": None,
        "upstream": None,
        "attempts": 0,
        "flags": ",".join(reply.flags),
        "details": reply.details,
        "body": body,
        "response_headers": [["content-length", str(len(body))], ["content-type", "text/plain"]],
    }


def of_call(
    request_id: object,
    outcome: Outcome | None,
    context: CallContext,
    seen: Sequence[Seen],
    case: Case,
) -> Json:
    """The outcome of a call that came to its end."""
    result: Json = {"id": request_id}
    primary = [s for s in seen if not s.mirrored]
    result["attempts"] = len(primary)
    result.update(_reached(primary, case))
    result.update(_answer(outcome))
    # A connection that a network filter closes has no request, so its log has no entry.
    was_request = isinstance(outcome, Response) or bool(primary or context.details)
    result["flags"] = (",".join(context.flags) if was_request else "") or "-"
    result["details"] = context.details or "via_upstream"
    if context.route_name:
        result["route_name"] = context.route_name
    if context.virtual_cluster:
        result["virtual_cluster"] = context.virtual_cluster
    if context.cluster and not primary:
        result["selected_cluster"] = context.cluster
    metadata = {
        n: context.dynamic_metadata[n] for n in _NAMESPACES if n in context.dynamic_metadata
    }
    if metadata:
        result["dynamic_metadata"] = metadata
    mirrored = [s for s in seen if s.mirrored]
    if mirrored:
        result["mirrored"] = sorted((_shadow(s) for s in mirrored), key=lambda m: str(m["cluster"]))
    return result


def _shadow(seen: Seen) -> Json:
    request = seen.attempt.request
    return {"cluster": _cluster(seen), "authority": request.authority, "path": request.path}


def _cluster(seen: Seen) -> str:
    assert isinstance(seen.attempt.cluster, ClusterPlan)
    return seen.attempt.cluster.name


def _reached(primary: Sequence[Seen], case: Case) -> Json:
    """Who got the last attempt, and what it looked like there."""
    if not primary:
        return {"cluster": None, "upstream": None}
    last = primary[-1]
    request = last.attempt.request
    upstream: Json = {
        "method": request.method,
        "path": request.path,
        "authority": request.authority or None,
        "headers": sorted(([n, v] for n, v in request.headers), key=lambda pair: pair[0]),
    }
    if last.body:
        upstream["body"] = last.body.decode("latin-1")
    name = _cluster(last)
    result: Json = {"cluster": name, "upstream": upstream}
    address = last.attempt.host.endpoint.address
    if case.is_own(name, address.port):
        result["endpoint"] = str(address)
    return result


def _answer(outcome: Outcome | None) -> Json:
    """Status, headers and body as the client saw them."""
    if not isinstance(outcome, Response):
        return {"status": None, "error": "connection_closed"}
    headers = outcome.headers
    body, is_default = _body(outcome)
    reset = outcome.body.reset if isinstance(outcome.body, Body) else None
    if reset is not None:
        return {"status": None, "error": "connection_closed"}
    result: Json = {
        "status": outcome.status,
        "response_headers": sorted(([n, v] for n, v in headers), key=lambda pair: pair[0]),
    }
    if body and not is_default:
        result["body"] = body.decode("latin-1")[:_MAX_BODY]
    result.update(_grpc(outcome))
    return result


def _body(outcome: Response) -> tuple[bytes, bool]:
    if isinstance(outcome.body, Body):
        return outcome.body.data, outcome.body.data == b"ok"
    return (outcome.body, False) if isinstance(outcome.body, bytes) else (b"", False)


def _grpc(outcome: Response) -> Mapping[str, object]:
    trailers = outcome.body.trailers if isinstance(outcome.body, Body) else None
    fields = dict([*outcome.headers, *(trailers or ())])
    status = fields.get("grpc-status")
    if status is None:
        return {}
    result: Json = {"grpc_status": int(status) if status.isdigit() else status}
    if "grpc-message" in fields:
        result["grpc_message"] = fields["grpc-message"]
    return result
