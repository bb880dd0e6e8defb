"""An answer of the mesh itself, with all that configuration does to it.

Source: Envoy, Utility::prepareLocalReply and LocalReplyImpl::rewrite.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from meshsdk.call.context import CallContext
from meshsdk.call.headers import Headers
from meshsdk.call.message import LocalReply, Request, Response
from meshsdk.flow import reply
from meshsdk.resources.format_values import Values
from meshsdk.resources.header_mutations import ONE_LINE_OF_RESPONSES, HeaderMutations
from meshsdk.resources.local_reply import LocalReplies
from meshsdk.resources.substitution_format import Format
from meshsdk.routing.headers import modify_local_reply

_TEXT = "text/plain"
_NOT_GRPC = Request("", "", "")
Mutate: TypeAlias = Callable[[Response, CallContext], Response]


def answer(
    local: LocalReply,
    request: Request,
    context: CallContext,
    replies: LocalReplies | None,
    mutate: Mutate | None = None,
) -> Response:
    """The response; `mutate`: the header mutations of the call's route, if it has one."""
    response = reply.to_response(local, request, context)
    if local.as_is:
        return response
    if replies is not None:
        return _mapped(local, request, context, replies, mutate)
    if mutate is not None:
        response = mutate(response, context)
    if local.modify is not None:
        response = modify_local_reply(response, local.modify)
    return response


def _mapped(
    local: LocalReply,
    request: Request,
    context: CallContext,
    replies: LocalReplies,
    mutate: Mutate | None,
) -> Response:
    """The answer as the connection manager's local_reply_config wants it."""
    headers = Headers(local.headers)
    if mutate is not None:
        # There may be a body in the end: nothing that describes one is dropped before.
        plain = reply.framed(replace(local, body=local.body or b"-"), _NOT_GRPC)
        headers = mutate(plain, context).headers.without("content-length")
        if headers.get("content-type") == _TEXT:
            headers = headers.without("content-type")  # it comes again, if nothing else does
    if local.modify is not None:
        headers = local.modify(headers)
    asked = context.original or request
    seen, status, body = context.forwarded or request, local.status, local.body
    body_format, has_own_type, is_changed = replies.body_format, False, False
    for mapper in replies.mappers:
        values = Values(context, seen, Response(status, headers))
        if mapper.filter(values):
            is_changed = mapper.body is not None
            body = body if mapper.body is None else mapper.body
            before = headers.get("content-type")
            headers = _with_added(mapper.headers, headers, values)
            has_own_type = headers.get("content-type") != before
            status = mapper.status or status
            body_format = mapper.body_format or body_format
            break
    context.local_status = status
    content_type = _TEXT
    if body_format is not None:
        values = Values(context, seen, Response(status, headers))
        values.local_reply_body = body.decode("latin-1")
        text = body_format.render(values)
        if body_format.members is not None and reply.is_grpc(asked):
            text = text.removesuffix("\n")
        body, content_type = text.encode("latin-1", "replace"), body_format.content_type
        is_changed = True
    headers = headers.without("content-length")
    if not body:
        headers = headers.without("content-type")
    elif "content-type" not in headers or (
        is_changed and not (has_own_type and headers.get("content-type"))
    ):
        headers = headers.set("content-type", content_type)
    return reply.framed(replace(local, status=status, body=body, headers=headers.pairs), asked)


def _with_added(mutations: HeaderMutations, headers: Headers, values: Values) -> Headers:
    def render(text: Format, left: Headers) -> str:
        values.response = Response(0 if values.response is None else values.response.status, left)
        return text.render(values)

    return mutations.apply(headers, render, ONE_LINE_OF_RESPONSES)
