"""The canonical request: refusals, trust and hop-by-hop fields."""

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from meshsdk.call.certificate import Certificate
from meshsdk.call.headers import Headers
from meshsdk.call.message import LocalReply, Request
from meshsdk.matching.cidr import CidrRange
from meshsdk.resources.hcm_options import (
    ClientCertDetails,
    ForwardClientCert,
    HcmOptions,
    Underscores,
)
from meshsdk.routing.canonical import canonicalize
from meshsdk.routing.fields import request_id
from meshsdk.routing.upgrade import refuse_upgrade
from tests.routing.calls import context

_FILE = Path(__file__).parents[1] / "data" / "request_headers.json.gz"
ROWS = cast(
    "list[tuple[str, str, str, list[tuple[str, str]], str | None]]",
    json.loads(gzip.decompress(_FILE.read_bytes()))["rows"],
)
ENVOY = HcmOptions(
    normalize_path=True,
    generate_request_id=False,
    compat="envoy",
    reject_fragment=False,
    local_address="192.0.2.2",
)
STRICT = replace(ENVOY, compat="strict")
MODES: dict[str, dict[str, object]] = {
    "sidecar": {},
    "hops0": {"use_remote_address": True},
    "hops1": {"use_remote_address": True, "xff_num_trusted_hops": 1},
    "hops2": {"use_remote_address": True, "xff_num_trusted_hops": 2},
}
CLIENT = Certificate(
    uri_sans=("spiffe://td.test/ns/foo/sa/client",),
    dns_sans=("c.test",),
    subject="CN=client",
    sha256="<sha256>",
)
# What a socket's own codec settles before there is a request to look at.
SETTLED_BY_THE_CODEC = ("host/''", "method/override :method: DELETE")


def _parsed(raw: str) -> Request:
    first, *lines = raw.split("\r\n\r\n")[0].split("\r\n")
    method, target, _ = first.split(" ")
    fields = [(n.lower(), v.strip(" \t")) for n, _, v in (line.partition(":") for line in lines)]
    hosts = ",".join(value for name, value in fields if name == "host")
    return Request(method, hosts, target, Headers(f for f in fields if f[0] != "host"))


def _options(case: str) -> HcmOptions:
    kind, *rest = case.split("/")
    if kind in ("xff", "xenvoy"):
        return replace(ENVOY, **MODES[rest[-1]])  # type: ignore[arg-type]  # a table of fields
    if kind == "xfcc":
        details = ClientCertDetails(subject=True, uri=True, dns=True)
        return replace(
            ENVOY,
            forward_client_cert_details=ForwardClientCert[rest[0]],
            set_current_client_cert_details=details,
        )
    return ENVOY


RECORDED = [row for row in ROWS if row[0] not in SETTLED_BY_THE_CODEC]


@pytest.mark.parametrize("row", RECORDED, ids=[row[0] for row in RECORDED])
def test_fields_and_refusals_are_as_recorded_from_envoy(
    row: tuple[str, str, str, list[tuple[str, str]], str | None],
) -> None:
    case, raw, outcome, forwarded, path = row
    call = context(certificate=CLIENT if "/mtls/" in case else None)

    found = canonicalize(_parsed(raw), _options(case), call)

    if outcome != "allow":
        refused = isinstance(found, LocalReply) or refuse_upgrade(found, ENVOY, None) is not None
        # A CONNECT and OPTIONS * are answered 404 for want of a route.
        assert refused or (outcome == "status_404" and _parsed(raw).method == "CONNECT")
        return
    assert isinstance(found, Request)
    assert path is None or found.path == path
    for name in {name for name, _ in forwarded} - {"x-envoy-expected-rq-timeout-ms"}:
        assert list(found.field(name)) == [value for n, value in forwarded if n == name]


# Threat model, section 12: name, request line and fields that strict refuses and Envoy takes.
STRICTER = [
    ("dup-host", Request("GET", "ok.test,secret.test", "/")),
    ("host-grammar", Request("GET", "user@secret.test", "/")),
    ("host-grammar", Request("GET", "secret.test;x", "/")),
    ("host-grammar", Request("GET", "secret.test:abc", "/")),
    ("dup-host", Request("GET", "a.test", "/", Headers([("host", "b.test")]))),
    ("method-token-case", Request("delete", "a.test", "/", protocol="h2")),
    ("raw-8bit-h2", Request("GET", "a.test", "/adm\xedn", protocol="h2")),
    ("target-form", Request("GET", "a.test", "http://b.test/admin")),
    ("target-form", Request("CONNECT", "a.test:80", "a.test:80")),
    ("path-not-fixed-point", Request("GET", "a.test", "/x/%2e%2e;/admin")),
]


@pytest.mark.parametrize(("name", "request_"), STRICTER)
def test_strict_refuses_by_name_what_envoy_takes(name: str, request_: Request) -> None:
    strict = canonicalize(request_, STRICT, context())
    envoy = canonicalize(request_, ENVOY, context())

    assert isinstance(strict, LocalReply)
    assert strict.status == 400
    assert name in strict.details
    assert isinstance(envoy, Request)


@pytest.mark.parametrize("path", ["/admin#x", "/admin%00.js"])
def test_strict_refuses_fragments_and_escaped_nul_in_every_mode(path: str) -> None:
    found = canonicalize(
        Request("GET", "a.test", path), replace(STRICT, normalize_path=False), context()
    )

    assert isinstance(found, LocalReply)
    assert found.details == "path_normalization_failed"


def test_strict_drops_the_clients_own_xfcc_in_both_spellings() -> None:
    options = replace(STRICT, forward_client_cert_details=ForwardClientCert.APPEND_FORWARD)
    forged = [("x-forwarded-client-cert", "URI=a"), ("x_forwarded_client_cert", "URI=b")]

    found = canonicalize(
        Request("GET", "a.test", "/", Headers(forged)), options, context(certificate=CLIENT)
    )

    assert isinstance(found, Request)
    assert found.field("x-forwarded-client-cert") == (
        "By=spiffe://td.test/ns/foo/sa/server;Hash=<sha256>",
    )
    assert "x_forwarded_client_cert" not in found.headers


def test_an_internal_caller_keeps_its_control_fields() -> None:
    loopback = CidrRange(4, 127 << 24, 8)
    options = replace(ENVOY, use_remote_address=True, internal_cidr_ranges=(loopback,))
    call = context()

    found = canonicalize(
        Request("GET", "a.test", "/", Headers([("x-envoy-max-retries", "3")])), options, call
    )

    assert isinstance(found, Request)
    assert call.is_internal
    assert found.field("x-envoy-max-retries") == ("3",)
    assert found.field("x-envoy-internal") == ("true",)


def test_repeats_of_a_control_field_do_not_survive_its_removal() -> None:
    twice = Headers([("x-envoy-retry-on", "5xx"), ("x-envoy-retry-on", "reset")])

    found = canonicalize(Request("GET", "a.test", "/", twice), ENVOY, context())

    assert isinstance(found, Request)
    assert "x-envoy-retry-on" not in found.headers


def test_fields_that_internal_callers_alone_may_send_are_removed() -> None:
    sent = Headers([("x-secret", "1")])

    found = canonicalize(Request("GET", "a.test", "/", sent), ENVOY, context(), ("x-secret",))

    assert isinstance(found, Request)
    assert "x-secret" not in found.headers


@pytest.mark.parametrize(
    "headers",
    [
        [("content-length", "0"), ("content-length", "0")],
        [("content-length", "4"), ("transfer-encoding", "chunked")],
        [("content-length", "+0")],
        [("x", "a\x00b")],
        [("x", "a\nb")],
    ],
)
def test_framing_that_two_parsers_may_read_differently_is_refused(
    headers: list[tuple[str, str]],
) -> None:
    found = canonicalize(Request("POST", "a.test", "/", Headers(headers)), ENVOY, context())

    assert isinstance(found, LocalReply)
    assert found.status == 400


@pytest.mark.parametrize("first", ["close", "keep-alive"])
def test_every_connection_field_counts_not_the_first_alone(first: str) -> None:
    def sent(*fields: tuple[str, str]) -> Request | LocalReply:
        listed = Headers([("connection", first), *fields])
        return canonicalize(Request("GET", "a.test", "/", listed), ENVOY, context())

    dropped = sent(("connection", "x-secret"), ("x-secret", "1"))
    forged = sent(("connection", "x-forwarded-for"))
    alone = sent(("x-secret", "1"))

    assert isinstance(dropped, Request)
    assert not {"connection", "x-secret"} & set(dropped.headers.names())
    assert isinstance(forged, LocalReply)
    assert forged.status == 400
    assert isinstance(alone, Request)
    assert alone.headers.get("x-secret") == "1"


def test_blanks_around_a_value_are_no_part_of_it() -> None:
    sent = Headers([("x-role", "admin \t"), ("x-other", "a b")])

    found = canonicalize(Request("GET", "a.test", "/", sent), ENVOY, context())

    assert isinstance(found, Request)
    assert found.field("x-role") == ("admin",)
    assert found.field("x-other") == ("a b",)


def test_octets_above_ascii_in_values_pass() -> None:
    found = canonicalize(
        Request("GET", "a.test", "/", Headers([("x-role", "admin\xff\xad")])), STRICT, context()
    )

    assert isinstance(found, Request)
    assert found.field("x-role") == ("admin\xff\xad",)


def test_more_fields_than_the_limit_are_answered_431() -> None:
    many = Headers((f"x{i}", "1") for i in range(101))

    found = canonicalize(Request("GET", "a.test", "/", many), ENVOY, context())

    assert isinstance(found, LocalReply)
    assert found.status == 431


def test_underscores_are_dropped_where_that_is_asked() -> None:
    options = replace(ENVOY, headers_with_underscores_action=Underscores.DROP_HEADER)

    found = canonicalize(
        Request("GET", "a.test", "/", Headers([("x_role", "a"), ("x-role", "b")])),
        options,
        context(),
    )

    assert isinstance(found, Request)
    assert "x_role" not in found.headers


def test_a_request_without_an_id_gets_a_random_uuid() -> None:
    options = replace(ENVOY, generate_request_id=True)

    found = canonicalize(Request("GET", "a.test", "/"), options, context())

    assert isinstance(found, Request)
    assert len(found.field("x-request-id")[0]) == 36


@pytest.mark.parametrize(
    ("sent", "kept"), [(["7"], "7"), ([""], ""), (["", "7"], "7"), (["7", ""], "7"), (["", ""], "")]
)
def test_an_empty_request_id_is_none(sent: list[str], kept: str) -> None:
    """Observed: Envoy replaces it, and what is empty adds no comma to a field of one line."""
    request = Request("GET", "a", "/", Headers([("x-request-id", value) for value in sent]))

    found = canonicalize(request, HcmOptions(), context())

    assert isinstance(found, Request)
    [found_id] = found.headers.values("x-request-id")
    assert found_id == kept if kept else len(found_id) == 36


def test_request_ids_are_version_4() -> None:
    made = request_id(context().random)

    assert made[14] == "4"
    assert made[19] in "89ab"


def test_matching_ports_and_trailing_dots_are_stripped() -> None:
    options = replace(ENVOY, strip_trailing_host_dot=True, strip_matching_host_port=True)

    same = canonicalize(Request("GET", "a.test.:8080", "/"), options, context())
    other = canonicalize(Request("GET", "a.test:81", "/"), options, context())

    assert isinstance(same, Request)
    assert isinstance(other, Request)
    assert (same.authority, other.authority) == ("a.test", "a.test:81")
