"""Who is at the other end, told by proxies to each other."""

from dataclasses import replace

import pytest

from meshsdk.call.address import Address
from meshsdk.call.connection import Connection
from meshsdk.call.context import CallContext
from meshsdk.call.filter import Continue
from meshsdk.call.headers import Headers
from meshsdk.call.message import Request, Response
from meshsdk.config.reader import Reader
from meshsdk.filters.peer_metadata import DOWNSTREAM_PEER, UPSTREAM_PEER, PeerMetadata, parse
from meshsdk.telemetry.workload import of_metadata
from meshsdk.testing.clock import FakeClock, SeededRandom
from meshsdk.wire.peer_metadata import decode, encode
from tests.flow.plans import EXTENSIONS

OURS = (("x-envoy-peer-metadata-id", "sidecar~me"), ("x-envoy-peer-metadata", "bWU="))
THEIRS = (("x-envoy-peer-metadata", "dGhlbQ=="), ("x-envoy-peer-metadata-id", "sidecar~they"))
OUTBOUND = PeerMetadata(OURS, from_upstream=True, to_upstream=True)
INBOUND = PeerMetadata(OURS, from_downstream=True, to_downstream=True)


def context_of_call() -> CallContext:
    return CallContext(FakeClock(), SeededRandom(), Connection(Address("10.0.0.1", 80)))


def decide(one: PeerMetadata, context: CallContext, *fields: tuple[str, str]) -> Continue:
    verdict = one.on_request(Request("GET", "a", "/", Headers(fields)), context)
    assert isinstance(verdict, Continue)
    return verdict


def test_a_client_says_who_it_is() -> None:
    verdict = decide(OUTBOUND, context_of_call(), ("x-a", "1"))

    assert verdict.request.headers.pairs == (("x-a", "1"), *OURS)
    assert verdict.request.headers.get("x-envoy-peer-metadata") == "bWU="


def test_what_an_application_says_of_itself_is_replaced() -> None:
    verdict = decide(OUTBOUND, context_of_call(), *THEIRS)

    assert verdict.request.headers.pairs == OURS


def test_what_a_server_says_is_read_and_taken_away() -> None:
    context = context_of_call()
    then = decide(OUTBOUND, context).on_response
    assert then is not None

    response = then(Response(200, Headers((("x-a", "1"), *THEIRS))), context)

    assert response.headers.pairs == (("x-a", "1"),)
    assert context.filter_state[UPSTREAM_PEER] == "dGhlbQ=="


def test_a_server_reads_who_calls_and_its_application_never_does() -> None:
    context = context_of_call()

    verdict = decide(INBOUND, context, ("x-a", "1"), *THEIRS)

    assert verdict.request.headers.pairs == (("x-a", "1"),)
    assert context.filter_state[DOWNSTREAM_PEER] == "dGhlbQ=="


def test_only_a_caller_that_told_of_itself_is_answered() -> None:
    told = decide(INBOUND, context_of_call(), *THEIRS).on_response
    assert told is not None

    assert decide(INBOUND, context_of_call()).on_response is None
    assert told(Response(200), context_of_call()).headers.pairs == OURS
    assert told(Response(200, Headers(THEIRS)), context_of_call()).headers.pairs == OURS


def test_metadata_comes_back_as_it_went() -> None:
    said = {"NAME": "web-1", "LABELS": {"app": "web"}, "NAMESPACE": "shop"}

    assert decode(encode(said)) == said


def test_what_is_no_metadata_says_nothing() -> None:
    assert decode("!!") is None
    assert decode("AAAA") is None
    assert decode("A" * 100_000) is None


@pytest.mark.parametrize(("skips", "tells"), [(False, True), (True, False)])
def test_a_feed_that_hides_us_from_external_services_hides_us(skips: bool, tells: bool) -> None:
    propagation = [{"istio_headers": {"skip_external_clusters": skips}}]
    given = Reader({"upstream_propagation": propagation, "upstream_discovery": propagation})

    found = parse(given, replace(EXTENSIONS, peer_metadata=OURS))

    assert found == PeerMetadata(OURS, from_upstream=True, to_upstream=tells)


def test_a_peer_that_says_too_much_is_not_remembered() -> None:
    context = context_of_call()

    verdict = decide(INBOUND, context, ("x-envoy-peer-metadata", "A" * 8193))

    assert DOWNSTREAM_PEER not in context.filter_state
    assert verdict.request.headers.pairs == ()


def test_a_name_of_a_peer_is_cut() -> None:
    assert len(of_metadata({"WORKLOAD_NAME": "x" * 6000}).name) == 512
