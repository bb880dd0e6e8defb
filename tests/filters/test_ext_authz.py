"""ext_authz: what the service is asked, and what becomes of its answers (observed with Envoy 1.40)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import pytest

from meshsdk.call.address import Address
from meshsdk.call.certificate import Certificate
from meshsdk.call.connection import Connection, Peer
from meshsdk.call.context import CallContext
from meshsdk.call.effects import BodyRead, Effect, Fetch, Fetched, GrpcFetch, GrpcFetched, ReadBody
from meshsdk.call.effects import Reply as EffectReply
from meshsdk.call.filter import Continue, HttpFilter, Verdict
from meshsdk.call.headers import Headers, Pair
from meshsdk.call.message import LocalReply, Request, Reset, ResetReason, Response
from meshsdk.clock import seeded
from meshsdk.errors import ConfigError
from meshsdk.filters.ext_authz import EXTENSION
from meshsdk.matching.octets import octets
from meshsdk.resources.route_facts import NO_FACTS
from tests.filters.filter_case import Clock, Config, build, extensions, overridden

GRPC: Config = {
    "transport_api_version": "V3",
    "grpc_service": {"envoy_grpc": {"cluster_name": "authz"}, "timeout": "600s"},
}
URI: Config = {"uri": "http://authz.test", "cluster": "authz", "timeout": "0.3s"}
HERE = Address("10.0.0.2", 8080)
_NOWHERE = Reset(ResetReason.CONNECT_FAILURE)
Reply = Mapping[str, object] | Response | Reset | int


def http(**more: object) -> Config:
    """A filter that asks by HTTP."""
    return {"http_service": {"server_uri": URI, **more}}


def names(*found: str) -> Config:
    """A ListStringMatcher of exact names."""
    return {"patterns": [{"exact": name} for name in found]}


def option(name: str, value: str, **more: object) -> Config:
    """A HeaderValueOption."""
    return {"header": {"key": name, "value": value}, **more}


@dataclass
class Asked:
    """One call through the filter, and the service that it asks."""

    http_filter: HttpFilter
    reply: Reply = field(default_factory=dict[str, object])
    body: bytes = b""
    connection: Connection = field(
        default_factory=lambda: Connection(HERE, Peer(connection=Address("10.0.0.1", 4000)))
    )
    metadata: dict[str, dict[str, object]] = field(default_factory=lambda: {})
    has_route: bool = True
    effects: list[Effect] = field(default_factory=list[Effect])
    context: CallContext | None = None

    def verdict(
        self, method: str = "GET", path: str = "/pay", headers: Sequence[Pair] = ()
    ) -> Verdict:
        request = Request(method, "a.com", path, Headers(headers), has_body=bool(self.body))
        self.context = context = CallContext(Clock(), seeded(1), self.connection)
        context.dynamic_metadata = self.metadata
        context.route = NO_FACTS if self.has_route else None
        step = self.http_filter.on_request(request, context)
        if isinstance(step, Continue | LocalReply):
            return step
        try:
            effect = next(step)
            while True:
                self.effects.append(effect)
                effect = step.send(self._perform(effect))
        except StopIteration as stop:
            found: Verdict = stop.value
            return found

    def _perform(self, effect: Effect) -> EffectReply:
        match effect, self.reply:
            case ReadBody(limit), _:
                return BodyRead(self.body[:limit], len(self.body) <= limit)
            case _, Reset() as reset:
                return reset
            case Fetch(), Response(body=bytes() as body) as response:
                return Fetched(response, body)
            case GrpcFetch(), int() as status:
                return GrpcFetched(status, {})
            case GrpcFetch(), Mapping() as message:
                return GrpcFetched(0, message)
            case _:
                raise AssertionError(effect)

    def passed(self, headers: Sequence[Pair] = (), path: str = "/pay") -> Request:
        found = self.verdict(path=path, headers=headers)
        assert isinstance(found, Continue), found
        return found.request

    def denied(self) -> LocalReply:
        found = self.verdict()
        assert isinstance(found, LocalReply), found
        return found

    def answered(self, *fields: Pair) -> Headers:
        """The fields of an upstream's answer afterwards."""
        found = self.verdict()
        assert isinstance(found, Continue)
        assert self.context is not None
        response = Response(200, Headers(fields))
        if found.on_response is not None:
            response = found.on_response(response, self.context)
        return response.headers

    def check(self, headers: Sequence[Pair] = (), method: str = "GET") -> Config:
        """The attributes of the CheckRequest."""
        self.verdict(method, headers=headers)
        fetch = self.effects[-1]
        assert isinstance(fetch, GrpcFetch)
        return cast("Config", fetch.message["attributes"])

    def fetch(self, headers: Sequence[Pair] = (), method: str = "GET") -> Fetch:
        """The side call to an HTTP service."""
        self.verdict(method, headers=headers)
        found = self.effects[-1]
        assert isinstance(found, Fetch)
        return found


def grpc(config: Config = GRPC, **more: object) -> HttpFilter:
    return build(EXTENSION, {**config, **more})


def shown_http(attributes: Config) -> Config:
    return cast("Mapping[str, Config]", attributes["request"])["http"]


def outcome(reply: LocalReply) -> tuple[int, bytes, tuple[str, ...], str]:
    return reply.status, reply.body, reply.flags, reply.details


def told(reply: LocalReply, *fields: Pair) -> tuple[Pair, ...]:
    """The fields of the answer that the service's own are put on."""
    headers = Headers(fields)
    return (headers if reply.modify is None else reply.modify(headers)).pairs


# -- what a gRPC service is asked ---------------------------------------------------------------------


def test_a_check_tells_of_both_ends_and_the_request() -> None:
    certificate = Certificate(("spiffe://td/ns/a/sa/b",), subject="CN=x")
    peer = Peer(certificate=certificate, connection=Address("10.0.0.1", 4000))
    connection = Connection(HERE, peer, "tls", local_uri_sans=("spiffe://td/ns/c/sa/d",))
    asked = Asked(grpc(), connection=connection)

    found = asked.check([("x-a", "1"), ("x-a", "2"), ("x-é".encode().decode("latin-1"), "\xff")])

    effect = asked.effects[0]
    assert isinstance(effect, GrpcFetch)
    assert (effect.cluster, effect.timeout) == ("authz", 600.0)
    assert (effect.service, effect.method) == ("envoy.service.auth.v3.Authorization", "Check")
    assert found["source"] == {
        "address": {"socket_address": {"address": "10.0.0.1", "port_value": 4000}},
        "principal": "spiffe://td/ns/a/sa/b",
    }
    assert found["destination"] == {
        "address": {"socket_address": {"address": "10.0.0.2", "port_value": 8080}},
        "principal": "spiffe://td/ns/c/sa/d",
    }
    request = found["request"]
    assert isinstance(request, Mapping)
    assert request["time"] == "1970-01-01T00:16:40.000000Z"
    shown = dict(shown_http(found))
    assert str(shown.pop("id")).isdigit()
    assert shown == {
        "method": "GET",
        "path": "/pay",
        "host": "a.com",
        "scheme": "http",
        "protocol": "HTTP/1.1",
        "headers": {
            ":authority": "a.com",
            ":path": "/pay",
            ":method": "GET",
            ":scheme": "http",
            "x-a": "1,2",
            "x-é": "!",
        },
    }


def test_the_default_timeout_of_a_grpc_service_is_200_ms() -> None:
    config = {**GRPC, "grpc_service": {"envoy_grpc": {"cluster_name": "authz"}}}
    asked = Asked(build(EXTENSION, config))

    asked.verdict()

    effect = asked.effects[0]
    assert isinstance(effect, GrpcFetch)
    assert effect.timeout == 0.2


def test_lists_say_which_fields_are_shown() -> None:
    sent = [("x-a", "1"), ("x-b", "2"), ("authorization", "t")]

    only_a = shown_http(Asked(grpc(allowed_headers=names("x-a"))).check(sent))
    not_a = shown_http(Asked(grpc(disallowed_headers=names("x-a", ":scheme"))).check(sent))

    assert only_a["headers"] == {"x-a": "1"}
    assert not_a["headers"] == {
        ":authority": "a.com",
        ":path": "/pay",
        ":method": "GET",
        "x-b": "2",
        "authorization": "t",
    }


def test_fields_of_one_connection_are_not_shown() -> None:
    sent = [("connection", "upgrade"), ("upgrade", "websocket"), ("keep-alive", "5"), ("x-a", "1")]

    found = shown_http(Asked(grpc(disallowed_headers=names(":scheme"))).check(sent))

    shown = cast("Config", found["headers"])
    assert [name for name in shown if not name.startswith(":")] == ["x-a"]


def test_a_body_is_shown_up_to_its_limit_with_a_word_on_whether_it_is_whole() -> None:
    limit = {"max_request_bytes": 5, "allow_partial_message": True}
    whole = Asked(grpc(with_request_body=limit), body=b"abc\xff")
    cut = Asked(grpc(with_request_body={**limit, "pack_as_bytes": True}), body=b"abcdef")

    found, part = shown_http(whole.check()), shown_http(cut.check([("content-length", "6")]))

    assert (found["body"], found["size"]) == ("abc!", 4)
    assert isinstance(found["headers"], Mapping)
    assert found["headers"]["x-envoy-auth-partial-body"] == "false"
    assert (part["raw_body"], part["size"]) == ("YWJjZGU=", 6)
    assert isinstance(part["headers"], Mapping)
    assert part["headers"]["x-envoy-auth-partial-body"] == "true"


def test_a_body_above_the_limit_is_413_and_nobody_is_asked() -> None:
    asked = Asked(grpc(with_request_body={"max_request_bytes": 5}), body=b"abcdef")

    found = asked.denied()

    assert outcome(found) == (413, b"Payload Too Large", (), "request_payload_too_large")
    assert asked.effects == [ReadBody(5)]


def test_raw_fields_keep_their_lines_and_octets() -> None:
    found = shown_http(Asked(grpc(encode_raw_headers=True)).check([("x-a", "1"), ("x-a", "\xff")]))

    assert "headers" not in found
    fields = found["header_map"]
    assert isinstance(fields, Mapping)
    assert fields["headers"][-2:] == [
        {"key": "x-a", "raw_value": "MQ=="},
        {"key": "x-a", "raw_value": "/w=="},
    ]


def test_metadata_certificate_and_session_are_shown_where_the_config_says_so() -> None:
    peer = Peer(certificate=Certificate(der=b"x"), connection=Address("10.0.0.1", 4000))
    connection = Connection(HERE, peer, "tls", "shop.test")
    more: Config = {
        "metadata_context_namespaces": ["jwt", "other"],
        "include_peer_certificate": True,
        "include_tls_session": True,
    }
    metadata: dict[str, dict[str, object]] = {"jwt": {"sub": "me"}, "private": {"k": "v"}}
    asked = Asked(grpc({**GRPC, **more}), connection=connection, metadata=metadata)

    found = asked.check([("x-envoy-downstream-service-cluster", "web")])
    plaintext = Asked(grpc({**GRPC, **more})).check()

    assert found["metadata_context"] == {"filter_metadata": {"jwt": {"sub": "me"}}}
    assert found["tls_session"] == {"sni": "shop.test"}
    source = cast("Config", found["source"])
    assert str(source["certificate"]).startswith("-----BEGIN%20CERTIFICATE")
    assert source["service"] == "web"
    assert "tls_session" not in plaintext


# -- who is asked at all ------------------------------------------------------------------------------


def test_istios_custom_policy_asks_only_where_the_shadow_rbac_matched() -> None:
    matcher = {
        "filter": "envoy.filters.http.rbac",
        "path": [{"key": "istio_ext_authz_shadow_effective_policy_id"}],
        "value": {"string_match": {"prefix": "istio-ext-authz"}},
    }
    key = "istio_ext_authz_shadow_effective_policy_id"
    config = grpc(filter_enabled_metadata=matcher)
    denies: Reply = {"status": {"code": 7}}

    unmatched = Asked(config, denies)
    matched = Asked(
        config, denies, metadata={"envoy.filters.http.rbac": {key: "istio-ext-authz-ns[a]"}}
    )

    assert isinstance(unmatched.verdict(), Continue)
    assert unmatched.effects == []
    assert matched.denied().status == 403


def test_a_disabled_filter_passes_or_denies_as_deny_at_disable_says() -> None:
    off = {"default_value": {"numerator": 0}}
    deny = {"default_value": True, "runtime_key": "k"}

    passes = Asked(grpc(filter_enabled=off)).verdict()
    denies = Asked(grpc(filter_enabled=off, deny_at_disable=deny)).denied()

    assert isinstance(passes, Continue)
    assert outcome(denies) == (403, b"", ("UAEX",), "ext_authz_error")


def test_a_call_without_route_is_asked_about_unless_envoy_is_to_be_followed() -> None:
    """A later filter may match the route again: what nobody was asked about would pass then."""
    denies: Reply = {"status": {"code": 7}}
    as_envoy = Asked(grpc(), denies, has_route=False)
    strict = Asked(build(EXTENSION, GRPC, extensions("strict")), denies, has_route=False)

    assert isinstance(as_envoy.verdict(), Continue)
    assert as_envoy.effects == []
    assert strict.denied().status == 403


def test_levels_add_extensions_and_the_most_specific_switches_the_check() -> None:
    base = grpc()
    host = {"check_settings": {"context_extensions": {"v": "1", "both": "v"}}}
    route = {"check_settings": {"context_extensions": {"r": "1", "both": "r"}}}

    merged = overridden(EXTENSION, base, host, route)
    off = overridden(EXTENSION, base, host, {"disabled": True})
    on = overridden(EXTENSION, base, {"disabled": True}, route)

    assert Asked(merged).check()["context_extensions"] == {"v": "1", "both": "r", "r": "1"}
    assert isinstance(Asked(off, 14).verdict(), Continue)
    assert Asked(on).check()["context_extensions"] == {"r": "1", "both": "r"}


def test_a_level_has_a_body_limit_or_a_service_of_its_own() -> None:
    base = grpc(with_request_body={"max_request_bytes": 5})
    bigger = {"with_request_body": {"max_request_bytes": 10, "pack_as_bytes": True}}

    big = Asked(overridden(EXTENSION, base, {"check_settings": bigger}), body=b"abcdef")
    unread = Asked(
        overridden(EXTENSION, base, {"check_settings": {"disable_request_body_buffering": True}}),
        body=b"abcdef",
    )
    other = Asked(overridden(EXTENSION, base, {"check_settings": http()}), Response(200))

    assert shown_http(big.check())["raw_body"] == "YWJjZGVm"
    assert "size" not in shown_http(unread.check())
    assert other.fetch([("x-a", "1")]).request.headers.get("x-a") == "1"


# -- what its answer does -----------------------------------------------------------------------------


def test_append_joins_a_field_that_is_there_and_all_else_replaces() -> None:
    fields = [
        option("x-a", "new"),
        option("x-b", "new", append=True),
        option("X-C", "new", append=False),
        option("x-n", "new"),
        option("x-n2", "new", append=True),
        option("x-ow", "new", append_action="OVERWRITE_IF_EXISTS"),
        option("x-abs", "new", append_action="ADD_IF_ABSENT"),
        option("x-empty", ""),
    ]
    ok = {"headers": fields, "headers_to_remove": ["x-gone", ":path", "Host", "X-Up"]}
    sent = [(n, "o") for n in ("x-a", "x-b", "x-c", "x-abs", "x-gone", "x-up")]

    found = Asked(grpc(), {"ok_response": ok}).passed(sent)

    assert dict(found.headers.pairs) == {
        "x-a": "new",
        "x-b": "o,new",
        "x-c": "new",
        "x-n": "new",
        "x-ow": "new",
        "x-abs": "new",
        "x-empty": "",
    }
    assert (found.path, found.authority) == ("/pay", "a.com")


def test_query_parameters_are_set_removed_and_sorted() -> None:
    ok = {
        "query_parameters_to_set": [{"key": "a", "value": "9"}, {"key": "new", "value": "xy"}],
        "query_parameters_to_remove": ["b"],
    }

    found = Asked(grpc(), {"ok_response": ok}).passed(path="/p?s=1&a=1&b=2&a=3")

    assert found.path == "/p?a=9&new=xy&s=1"


def test_pseudo_fields_can_be_set() -> None:
    fields = [option(":path", "/other"), option("host", "b.com"), option(":method", "PUT")]

    found = Asked(grpc(), {"ok_response": {"headers": fields}}).passed()

    assert (found.method, found.authority, found.path) == ("PUT", "b.com", "/other")


def test_response_fields_follow_their_append_action() -> None:
    fields = [
        option("x-up", "r"),
        option("x-set", "r", append=True),
        option("x-new", "r"),
        option("x-ow", "r", append_action="OVERWRITE_IF_EXISTS"),
        option("x-abs", "r", append_action="ADD_IF_ABSENT"),
        option("x-set", "z", append_action="OVERWRITE_IF_EXISTS_OR_ADD"),
    ]

    found = Asked(grpc(), {"ok_response": {"response_headers_to_add": fields}}).answered(
        ("x-up", "1"), ("x-set", "up")
    )

    assert found.pairs == (
        ("x-up", "1"),
        ("x-up", "r"),
        ("x-new", "r"),
        ("x-set", "z"),
        ("x-abs", "r"),
    )


def test_dynamic_metadata_is_published_with_the_time_of_the_call() -> None:
    reply: Reply = {"dynamic_metadata": {"k": "v"}}
    taken, left = Asked(grpc(), reply), Asked(grpc(enable_dynamic_metadata_ingestion=False), reply)

    taken.passed()
    left.passed()

    assert taken.metadata == {"envoy.filters.http.ext_authz": {"k": "v", "ext_authz_duration": 0}}
    assert left.metadata == {}


def test_the_route_is_matched_again_where_the_request_changed() -> None:
    ok: Reply = {"ok_response": {"headers": [option("x-route", "2")]}}

    changed = Asked(grpc(clear_route_cache=True), ok).verdict()
    same = Asked(grpc(clear_route_cache=True)).verdict()
    kept = Asked(grpc(), ok).verdict()

    assert [v.reroute for v in (changed, same, kept) if isinstance(v, Continue)] == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("reply", "status", "body"),
    [
        ({"status": {"code": 7}}, 403, b""),
        ({"status": {"code": 16}}, 403, b""),
        ({"status": {"code": 7}, "denied_response": {"body": "b"}}, 403, b"b"),
        ({"status": {"code": 7}, "denied_response": {"status": {"code": "OK"}}}, 200, b""),
        ({"status": {"code": 7}, "denied_response": {"body": "é"}}, 403, "é".encode()),
        ({"status": {"code": 7}, "denied_response": {"status": {"code": 299}}}, 299, b""),
        ({"status": {"code": 7}, "denied_response": {"status": {"code": "Continue"}}}, 403, b""),
        ({"status": {"code": 7}, "denied_response": {"status": {"code": 999}}}, 403, b""),
    ],
)
def test_a_denial_is_403_unless_it_says_otherwise(reply: Reply, status: int, body: bytes) -> None:
    found = Asked(grpc(), reply).denied()

    assert outcome(found) == (status, body, ("UAEX",), "ext_authz_denied")


_NO_OPTION: Config = {}
UNREADABLE: list[Config] = [{"headers": [_NO_OPTION]}, {"status": {"code": 999}}, {"body": 1}]


@pytest.mark.parametrize("denied", UNREADABLE)
def test_a_denial_that_cannot_be_read_is_still_a_denial(denied: Config) -> None:
    reply: Reply = {"status": {"code": 7}, "denied_response": denied}

    found = Asked(grpc(failure_mode_allow=True), reply).denied()

    assert outcome(found) == (403, b"", ("UAEX",), "ext_authz_denied")


def test_no_service_changes_how_a_body_is_framed() -> None:
    framing = [
        option("content-length", "0"),
        option("transfer-encoding", "chunked", append=True),
        option("content-length", "9", append=True),
        option("connection", "x-a"),
    ]
    actions = (
        "APPEND_IF_EXISTS_OR_ADD",
        "OVERWRITE_IF_EXISTS_OR_ADD",
        "ADD_IF_ABSENT",
        "OVERWRITE_IF_EXISTS",
    )
    ok = {
        "headers": framing,
        "response_headers_to_add": [
            option(name, "1", append_action=action)
            for action in actions
            for name in ("content-length", "transfer-encoding")
        ],
        "headers_to_remove": ["content-length"],
    }
    asked = Asked(grpc(), {"ok_response": ok})
    denied = {"status": {"code": 7}, "denied_response": {"headers": framing}}

    assert asked.passed([("content-length", "3")]).headers.pairs == (("content-length", "3"),)
    assert asked.answered(("content-length", "5")).pairs == (("content-length", "5"),)
    assert told(Asked(grpc(), denied).denied(), ("content-length", "0")) == (
        ("content-length", "0"),
    )


def test_fields_of_a_denial_replace_ours_and_may_repeat() -> None:
    fields = [
        option("x-d", "1"),
        option("x-d", "2"),
        option("x-e", "1", append=True),
        option("content-type", "text/html"),
        option("x-f", "1", append_action="OVERWRITE_IF_EXISTS"),
    ]
    denied = {"status": {"code": "Unauthorized"}, "headers": fields}

    found = Asked(grpc(), {"status": {"code": 7}, "denied_response": denied}).denied()

    assert found.status == 401
    assert told(found, ("content-type", "text/plain"), ("x-d", "0")) == (
        ("x-d", "1"),
        ("x-d", "2"),
        ("content-type", "text/html"),
        ("x-f", "1"),
    )


def test_the_body_of_a_denial_is_cut_to_its_limit() -> None:
    reply: Reply = {"status": {"code": 7}, "denied_response": {"body": "abcdef"}}

    assert Asked(grpc(max_denied_response_body_bytes=3), reply).denied().body == b"abc"


ERRORS: list[Reply] = [14, 7, _NOWHERE, {"status": "none"}, {"ok_response": {"headers": 1}}]


@pytest.mark.parametrize("reply", ERRORS)
def test_a_service_that_cannot_say_denies_unless_told_to_fail_open(reply: Reply) -> None:
    closed = Asked(grpc(), reply).denied()
    other = Asked(grpc(status_on_error={"code": "ServiceUnavailable"}), reply).denied()
    opened = Asked(grpc(failure_mode_allow=True), reply).passed()
    marked = Asked(grpc(failure_mode_allow=True, failure_mode_allow_header_add=True), reply)
    spoofed = [("x-envoy-auth-failure-mode-allowed", "false")]

    assert outcome(closed) == (403, b"", ("UAEX",), "ext_authz_error")
    assert other.status == 503
    assert opened.headers.pairs == ()
    assert marked.passed(spoofed).headers.pairs == (("x-envoy-auth-failure-mode-allowed", "true"),)


def test_an_error_response_has_its_own_status_body_and_fields() -> None:
    error = {
        "status": {"code": "BadGateway"},
        "body": "eb",
        "headers": [option("x-er", "1")],
    }
    reply: Reply = {"status": {"code": 13}, "error_response": error}

    found = Asked(grpc(), reply).denied()

    assert outcome(found) == (502, b"eb", ("UAEX",), "ext_authz_error")
    assert told(found) == (("x-er", "1"),)
    assert isinstance(Asked(grpc(failure_mode_allow=True), reply).verdict(), Continue)


BAD = [
    option("bad name", "v"),
    option("x-z", "a\r\nb: c"),
    option("x-z", "a\0b"),
    option(":status", "200"),
]
BAD_REQUEST = [option(":path", "evil"), option(":path", "/a b"), option(":method", "G ET")]


@pytest.mark.parametrize("field", BAD)
def test_what_cannot_be_sent_is_not_sent(field: Config) -> None:
    """Envoy 1.40 splits a denial's line without validate_mutations; this is stricter."""
    replies: list[Reply] = [
        {"ok_response": {"headers": [field]}},
        {"ok_response": {"response_headers_to_add": [field]}},
        {"status": {"code": 7}, "denied_response": {"headers": [field]}},
    ]

    for reply in replies:
        found = Asked(grpc(), reply).denied()
        assert outcome(found) == (500, b"", ("UAEX",), "ext_authz_invalid")


@pytest.mark.parametrize("field", BAD_REQUEST)
def test_a_request_line_that_cannot_be_sent_is_not_sent(field: Config) -> None:
    found = Asked(grpc(), {"ok_response": {"headers": [field]}}).denied()

    assert outcome(found) == (500, b"", ("UAEX",), "ext_authz_invalid")


@pytest.mark.parametrize("value", ["a b", "a#b", "a\r\nb", "a\0b"])
def test_a_query_that_cannot_be_sent_is_not_sent(value: str) -> None:
    ok = {"query_parameters_to_set": [{"key": "a", "value": value}]}

    found = Asked(grpc(), {"ok_response": ok}).denied()

    assert outcome(found) == (500, b"", ("UAEX",), "ext_authz_invalid")


def test_a_shadow_asks_and_changes_nothing() -> None:
    asked = Asked(grpc(shadow_mode=True), {"status": {"code": 7}})

    assert asked.passed().headers.pairs == ()
    assert len(asked.effects) == 1


# -- an HTTP service ----------------------------------------------------------------------------------


def test_an_http_service_gets_the_call_without_most_fields_and_body() -> None:
    asked = Asked(build(EXTENSION, http()), Response(200), body=b"abc")
    sent = [("authorization", "t"), ("cookie", "c"), ("content-length", "3")]

    found = asked.fetch(sent, "POST")

    assert (found.cluster, found.timeout, found.body) == ("authz", 0.3, b"")
    request = found.request
    assert (request.method, request.authority, request.path) == ("POST", "a.com", "/pay")
    assert request.headers.pairs == (("content-length", "0"), ("authorization", "t"))


def test_lists_prefix_added_fields_and_body_shape_the_request() -> None:
    config = {
        "allowed_headers": names("cookie", "x-a", "user-agent"),
        "disallowed_headers": names("user-agent"),
        "with_request_body": {"max_request_bytes": 5, "allow_partial_message": True},
        **http(
            path_prefix="/pre",
            authorization_request={
                "headers_to_add": [
                    {"key": "x-added", "value": "v-%REQ(x-a)%"},
                    {"key": "x-a", "value": "over"},
                ],
            },
        ),
    }
    sent = [("x-a", "orig"), ("cookie", "c"), ("user-agent", "u"), ("x-up", "1")]

    found = Asked(build(EXTENSION, config), Response(200), body=b"abcdef").fetch(sent, "POST")

    assert found.request.path == "/pre/pay"
    assert found.body == b"abcde"
    assert dict(found.request.headers.pairs) == {
        "content-length": "5",
        "cookie": "c",
        "x-envoy-auth-partial-body": "true",
        "x-added": "v-orig",
        "x-a": "over",
    }


def test_a_check_has_the_length_of_its_own_body() -> None:
    lists = {"allowed_headers": names("content-length", "transfer-encoding")}
    sent = [("content-length", "3"), ("transfer-encoding", "chunked")]

    found = Asked(build(EXTENSION, {**http(), **lists}), Response(200), body=b"abc").fetch(sent)

    assert found.request.headers.pairs == (("content-length", "0"),)


def test_200_allows_with_the_listed_fields() -> None:
    lists = {
        "allowed_upstream_headers": names("x-a", "set-cookie"),
        "allowed_upstream_headers_to_append": names("x-b"),
        "allowed_client_headers_on_success": names("x-c", "set-cookie"),
        "dynamic_metadata_from_headers": names("x-b"),
    }
    fields = Headers(
        [
            ("x-a", "1"),
            ("x-b", "2"),
            ("x-c", "3"),
            ("x-envoy-auth-headers-to-remove", "x-gone, X-Gone2"),
            ("set-cookie", "q=1"),
            ("set-cookie", "r=2"),
        ]
    )
    built = build(EXTENSION, http(authorization_response=lists))
    asked = Asked(built, Response(200, fields, b"body"))

    found = asked.passed([("x-a", "orig"), ("x-gone", "1"), ("x-gone2", "1"), ("x-b", "orig")])
    answer = Asked(built, Response(200, fields)).answered(("x-up", "1"))

    assert found.headers.pairs == (
        ("x-b", "orig"),
        ("x-a", "1"),
        ("set-cookie", "r=2"),
        ("x-b", "2"),
    )
    assert answer.pairs == (
        ("x-up", "1"),
        ("x-c", "3"),
        ("set-cookie", "q=1"),
        ("set-cookie", "r=2"),
    )
    assert asked.metadata["envoy.filters.http.ext_authz"]["x-b"] == "2"


def test_an_http_service_changes_no_framing_either() -> None:
    framing = names("content-length", "transfer-encoding", "connection")
    lists = {"allowed_upstream_headers_to_append": framing, "allowed_upstream_headers": framing}
    fields = Headers([("content-length", "0"), ("transfer-encoding", "chunked")])
    asked = Asked(build(EXTENSION, http(authorization_response=lists)), Response(200, fields))

    found = asked.passed([("content-length", "3")])

    assert found.headers.pairs == (("content-length", "3"),)


@pytest.mark.parametrize("status", [201, 302, 401, 404])
def test_what_is_neither_200_nor_5xx_denies_with_its_own_status(status: int) -> None:
    ours = [("content-length", "4"), ("connection", "close")]
    fields = Headers([("x-a", "1"), *ours, ("x-envoy-auth-headers-to-remove", "x-b")])

    found = Asked(build(EXTENSION, http()), Response(status, fields, b"<no>")).denied()

    assert outcome(found) == (status, b"<no>", ("UAEX",), "ext_authz_denied")
    assert told(found) == (("x-a", "1"),)


def test_a_list_says_which_fields_of_a_denial_the_caller_gets() -> None:
    lists = {"allowed_client_headers": names("x-a")}
    fields = Headers([("x-a", "1"), ("www-authenticate", "Basic"), ("x-b", "2")])
    built = build(EXTENSION, http(authorization_response=lists))

    found = Asked(built, Response(401, fields)).denied()

    assert told(found) == (("x-a", "1"), ("www-authenticate", "Basic"))


@pytest.mark.parametrize("reply", [Response(500, body=b"oops"), Response(503), _NOWHERE])
def test_5xx_and_silence_are_errors(reply: Reply) -> None:
    found = Asked(build(EXTENSION, http()), reply).denied()

    assert outcome(found) == (403, b"", ("UAEX",), "ext_authz_error")


# -- configs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({}, "exactly one of grpc_service, http_service"),
        ({**GRPC, "transport_api_version": "V2"}, "transport_api_version"),
        ({**GRPC, "grpc_service": {"google_grpc": {}}}, "google_grpc"),
        ({**GRPC, "decoder_header_mutation_rules": {}}, "decoder_header_mutation_rules"),
        ({**GRPC, "with_request_body": {}}, "max_request_bytes"),
        ({**GRPC, "surprise": 1}, "surprise"),
        (http(path_prefix="x"), "path_prefix"),
        (http(retry_policy={}), "retry_policy"),
        ({"http_service": {"server_uri": {"uri": "http://a", "cluster": "c"}}}, "timeout"),
    ],
)
def test_a_config_that_cannot_be_honoured_is_refused_by_name(config: Config, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        build(EXTENSION, config)


def test_a_level_that_switches_nothing_off_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected true"):
        overridden(EXTENSION, grpc(), {"disabled": False})


def test_octets_of_the_service_are_kept() -> None:
    found = Asked(grpc(), {"ok_response": {"headers": [option("x-a", "é")]}}).passed()

    assert found.headers.get("x-a") == octets("é")
