"""Shadow requests: the copy that a mirror policy sends."""

from dataclasses import replace

from meshsdk.call.context import CallContext
from meshsdk.call.message import Request
from meshsdk.resources.route_action import MirrorPolicy
from meshsdk.routing.domains import without_port
from meshsdk.routing.headers import mutate_request


def shadow_cluster(policy: MirrorPolicy, request: Request) -> str:
    """Where the copy goes; empty where the field that names it is missing."""
    if policy.cluster:
        return policy.cluster
    return (request.field(policy.cluster_header) or ("",))[0]


def shadow(policy: MirrorPolicy, request: Request, context: CallContext) -> Request:
    """The copy of a request; its host ends in `-shadow` unless the policy says otherwise.

    Source: Envoy, Http::AsyncStreamImpl and Utility::getShadowHost.
    """
    if policy.headers:
        request = mutate_request(request, policy.headers, context, {}, {})
    if policy.host_rewrite_literal:
        return replace(request, authority=policy.host_rewrite_literal)
    if policy.append_shadow_suffix:
        host = without_port(request.authority)
        port = request.authority[len(host) :]
        return replace(request, authority=f"{host}-shadow{port}")
    return request
