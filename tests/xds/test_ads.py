"""The ADS machine, both variants, with a toy resource type."""

import pytest

from meshsdk.config.extension import Extensions, Registry
from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError
from meshsdk.resources.resource_type import ResourceType
from meshsdk.telemetry import ConfigReported, ResourceRejected
from meshsdk.xds.ads import MAX_NACK, AdsMachine, Answer, Key, nack_text
from meshsdk.xds.messages import (
    DiscoveryRequest,
    DiscoveryResponse,
    Received,
    UnknownField,
    Variant,
)
from meshsdk.xds.subscription import Subscription
from tests.xds.pushes import finish, push, received, toy_type

EXTENSIONS = Extensions(Registry("a"), Registry("b"), Registry("c"))
FULL = toy_type(is_full=True, type_url="type.googleapis.com/test.Full")
NAMED = toy_type(type_url="type.googleapis.com/test.Named")
EVERYTHING = Subscription(wildcard=True)


def machine(
    variant: Variant = "delta", extensions: Extensions = EXTENSIONS, kind: ResourceType = FULL
) -> AdsMachine:
    made = AdsMachine((kind, NAMED), extensions, variant)
    made.connect()
    made.subscribe({kind.type_url: EVERYTHING})
    return made


def take(made: AdsMachine, response: DiscoveryResponse) -> Answer:
    return finish(made.receive(response))


def value(made: AdsMachine, name: str, kind: ResourceType = FULL) -> object:
    good = made.stores[kind.type_url].good(name)
    return None if good is None else good.value


def error(answer: Answer) -> str:
    assert answer.request is not None
    assert answer.request.error is not None
    return answer.request.error


def test_the_first_request_of_a_stream_carries_the_node() -> None:
    made = AdsMachine((FULL, NAMED), EXTENSIONS)
    made.subscribe({FULL.type_url: EVERYTHING, NAMED.type_url: Subscription(frozenset("a"))})

    first, second = made.connect()

    assert first == DiscoveryRequest(FULL.type_url, subscribe=("*",), first=True)
    assert second == DiscoveryRequest(NAMED.type_url, subscribe=("a",))


def test_a_sotw_wildcard_is_an_empty_list() -> None:
    made = AdsMachine((FULL,), EXTENSIONS, "sotw")
    made.subscribe({FULL.type_url: EVERYTHING})

    assert made.connect() == (DiscoveryRequest(FULL.type_url, first=True),)


@pytest.mark.parametrize("variant", ["delta", "sotw"])
def test_a_good_response_is_acked_with_its_nonce(variant: Variant) -> None:
    made = machine(variant)

    answer = take(made, push(FULL.type_url, {"a": {"value": 1}}, nonce="n7", variant=variant))

    version = "" if variant == "delta" else "v-n7"
    assert answer.request == DiscoveryRequest(FULL.type_url, nonce="n7", version=version)
    assert value(made, "a") == 1
    assert made.take_changes() == (Key(FULL.type_url, "a"), Key(FULL.type_url, "*"))


def test_a_bad_resource_costs_neither_its_neighbour_nor_its_last_good_version() -> None:
    made = machine()
    take(made, push(FULL.type_url, {"a": {"value": 1}, "b": {"value": 1}}))

    answer = take(made, push(FULL.type_url, {"a": {}, "b": {"value": 2}}, nonce="n2"))

    assert value(made, "a") == 1
    assert value(made, "b") == 2
    assert error(answer) == "TOY a: toy.value: expected an integer, found none"
    assert answer.events == (ResourceRejected(FULL.type_url, "a", error(answer)),)


def test_a_nack_names_the_path_of_every_error_and_repeats_the_accepted_version() -> None:
    made = machine("sotw")
    take(made, push(FULL.type_url, {"a": {"value": 1}}, nonce="n1", variant="sotw"))

    answer = take(
        made, push(FULL.type_url, {"a": {}, "b": {"value": "x"}}, nonce="n2", variant="sotw")
    )

    assert answer.request is not None
    assert answer.request.nonce == "n2"
    assert answer.request.version == "v-n1"
    assert "TOY a: toy.value" in error(answer)
    assert "TOY b: toy.value" in error(answer)


def test_a_nack_has_at_most_four_kibibytes_and_counts_what_is_left_out() -> None:
    text = nack_text([f"TOY {i}: toy.value: {'x' * 100}" for i in range(100)])

    assert len(text.encode()) <= MAX_NACK
    assert text.endswith(f"; and {100 - text.count('TOY')} more")
    assert len(nack_text(["y" * 10_000]).encode()) <= MAX_NACK


def test_equal_bytes_are_not_decoded_again() -> None:
    made = machine()
    decodes: list[str] = []
    same = received(FULL.type_url, "a", {"value": 1}, counts=decodes)
    response = DiscoveryResponse(FULL.type_url, "1", "n1", (same,))
    take(made, response)
    made.take_changes()

    take(made, response)

    assert decodes == ["a"]
    assert made.take_changes() == ()


def test_bad_bytes_keep_their_error_until_the_last_good_bytes_clear_it() -> None:
    made = machine()
    decodes: list[str] = []
    good = received(FULL.type_url, "a", {"value": 1})
    bad = received(FULL.type_url, "a", {}, counts=decodes)

    answers = [
        take(made, DiscoveryResponse(FULL.type_url, "1", f"n{i}", (resource,)))
        for i, resource in enumerate((good, bad, bad, good))
    ]

    errors = [a.request.error for a in answers if a.request is not None]
    assert [text is not None for text in errors] == [False, True, True, False]
    assert decodes == ["a"]
    assert not made.stores[FULL.type_url].entries["a"].refused


def test_maps_in_another_order_are_no_change() -> None:
    made = machine()
    take(made, push(FULL.type_url, {"a": {"value": 1, "b": 2}}))
    before = value(made, "a")
    made.take_changes()

    take(made, push(FULL.type_url, {"a": {"b": 2, "value": 1}}, nonce="n2"))

    assert value(made, "a") is before
    assert made.take_changes() == ()


def test_a_name_that_comes_twice_is_refused() -> None:
    made = machine()
    take(made, push(FULL.type_url, {"a": {"value": 1}}))
    twice = tuple(received(FULL.type_url, "a", {"value": n}) for n in (2, 3))

    answer = take(made, DiscoveryResponse(FULL.type_url, "2", "n2", twice))

    assert "TOY a: toy.name: expected each name once" in error(answer)
    assert value(made, "a") == 1


def test_delta_removal_removes_and_is_news() -> None:
    made = machine()
    take(made, push(FULL.type_url, {"a": {"value": 1}, "b": {"value": 1}}))
    made.take_changes()

    take(made, push(FULL.type_url, removed=("a",), nonce="n2"))

    assert value(made, "a") is None
    assert value(made, "b") == 1
    assert made.take_changes() == (Key(FULL.type_url, "a"),)


def test_sotw_absence_removes_in_a_full_type_and_means_nothing_in_others() -> None:
    made = machine("sotw")
    names = Subscription(frozenset("ab"))
    made.subscribe({FULL.type_url: EVERYTHING, NAMED.type_url: names})
    both = {"a": {"value": 1}, "b": {"value": 1}}
    for url in (FULL.type_url, NAMED.type_url):
        take(made, push(url, both, variant="sotw"))
        take(made, push(url, {"a": {"value": 2}}, nonce="n2", variant="sotw"))

    assert value(made, "b") is None
    assert value(made, "b", NAMED) == 1


def test_an_empty_sotw_answer_wipes_nothing_in_strict_and_all_in_envoy() -> None:
    results: list[tuple[object, int]] = []
    for compat in ("strict", "envoy"):
        chosen = Extensions(
            Registry("a"),
            Registry("b"),
            Registry("c"),
            compat="strict" if compat == "strict" else "envoy",
        )
        made = machine("sotw", chosen)
        take(made, push(FULL.type_url, {"a": {"value": 1}}, variant="sotw"))
        answer = take(made, push(FULL.type_url, nonce="n2", variant="sotw"))
        results.append((value(made, "a"), len(answer.events)))

    assert results == [(1, 1), (None, 0)]


def test_a_resource_of_another_type_is_refused_and_removes_nothing() -> None:
    made = machine("sotw")
    take(made, push(FULL.type_url, {"a": {"value": 1}}, variant="sotw"))
    other = Received(None, b"x", "type.googleapis.com/test.Other", lambda: pytest.fail("decoded"))

    answer = take(made, DiscoveryResponse(FULL.type_url, "2", "n2", (other,), delta=False))

    assert error(answer) == (
        "TOY resources[0]: expected type.googleapis.com/test.Full,"
        " found type.googleapis.com/test.Other"
    )
    assert value(made, "a") == 1


@pytest.mark.parametrize("url", ["istio.io/debug", "type.googleapis.com/x.Y", NAMED.type_url])
def test_an_answer_that_nobody_asked_for_is_ignored_and_never_acked(url: str) -> None:
    made = machine()
    take(made, push(FULL.type_url, {"a": {"value": 1}}))

    answer = take(made, push(url, {"a": {"value": 2}}, nonce="n2"))

    assert answer.request is None
    assert isinstance(answer.events[0], ConfigReported)
    assert value(made, "a") == 1
    assert value(made, "a", NAMED) is None


def test_delta_subscription_changes_are_spontaneous_and_acks_carry_none() -> None:
    made = machine()
    first = made.subscribe(
        {FULL.type_url: EVERYTHING, NAMED.type_url: Subscription(frozenset("ab"))}
    )
    answer = take(made, push(NAMED.type_url, {"a": {"value": 1}, "b": {"value": 1}}, nonce="n5"))
    second = made.subscribe(
        {FULL.type_url: EVERYTHING, NAMED.type_url: Subscription(frozenset("bc"))}
    )

    assert first == (DiscoveryRequest(NAMED.type_url, subscribe=("a", "b")),)
    assert answer.request == DiscoveryRequest(NAMED.type_url, nonce="n5")
    assert second == (DiscoveryRequest(NAMED.type_url, subscribe=("c",), unsubscribe=("a",)),)
    assert value(made, "a", NAMED) is None


def test_a_sotw_change_while_a_response_is_in_flight_is_resent_with_the_next_ack() -> None:
    made = machine("sotw")
    wanted = {FULL.type_url: EVERYTHING}
    made.subscribe({**wanted, NAMED.type_url: Subscription(frozenset("a"))})
    take(made, push(NAMED.type_url, {"a": {"value": 1}}, nonce="n1", variant="sotw"))

    changed = made.subscribe({**wanted, NAMED.type_url: Subscription(frozenset("ab"))})
    answer = take(made, push(NAMED.type_url, {"a": {"value": 2}}, nonce="n2", variant="sotw"))

    assert [(r.nonce, r.names) for r in changed] == [("n1", ("a", "b"))]
    assert answer.request == DiscoveryRequest(
        NAMED.type_url, nonce="n2", version="v-n2", names=("a", "b")
    )


def test_the_last_name_of_a_full_sotw_type_is_not_let_go_by_an_empty_list() -> None:
    made = AdsMachine((FULL,), EXTENSIONS, "sotw")
    made.connect()
    made.subscribe({FULL.type_url: Subscription(frozenset("a"))})

    assert made.subscribe({}) == ()


def test_a_reconnect_asks_again_with_empty_nonces_and_keeps_everything() -> None:
    made = machine()
    made.subscribe({FULL.type_url: EVERYTHING, NAMED.type_url: Subscription(frozenset("a"))})
    take(made, push(FULL.type_url, {"f": {"value": 1}}))
    made.disconnect("UNAVAILABLE")

    requests = made.connect()

    assert requests == (
        DiscoveryRequest(
            FULL.type_url, subscribe=("*",), initial_resource_versions={"f": ""}, first=True
        ),
        DiscoveryRequest(NAMED.type_url, subscribe=("a",)),
    )
    assert value(made, "f") == 1


def test_a_sotw_reconnect_says_the_version_that_was_accepted() -> None:
    made = machine("sotw")
    take(made, push(FULL.type_url, {"f": {"value": 1}}, nonce="n1", variant="sotw"))
    made.disconnect()

    (request,) = made.connect()

    assert (request.version, request.nonce) == ("v-n1", "")


def test_a_server_without_delta_is_asked_for_the_state_of_the_world() -> None:
    made = machine()

    made.disconnect("UNIMPLEMENTED")

    assert made.variant == "sotw"
    assert made.connect()[0].subscribe == ()


def test_a_subscription_that_ended_forgets_its_resources() -> None:
    made = machine()
    made.subscribe({FULL.type_url: EVERYTHING, NAMED.type_url: Subscription(frozenset("a"))})
    take(made, push(NAMED.type_url, {"a": {"value": 1}, "other": {"value": 1}}))
    made.take_changes()

    made.subscribe({FULL.type_url: EVERYTHING})

    assert not made.stores[NAMED.type_url].entries
    assert made.take_changes() == (Key(NAMED.type_url, "a"),)


def test_receiving_pauses_between_pieces() -> None:
    made = machine()
    resources = {str(n): {"value": n} for n in range(5)}

    pauses = sum(1 for _ in made.receive(push(FULL.type_url, resources)))

    assert pauses == 5


@pytest.mark.parametrize(
    ("message", "is_refused"),
    [
        ("envoy.config.rbac.v3.Principal", True),
        ("envoy.config.route.v3.RouteMatch", True),
        ("envoy.config.route.v3.RouteMatch.GrpcRouteMatchOptions", True),
        ("envoy.extensions.transport_sockets.tls.v3.TlsParameters", True),
        ("envoy.config.route.v3.RouteAction", False),
    ],
)
def test_an_unknown_field_is_refused_in_matches_and_policies(
    message: str, is_refused: bool
) -> None:
    made = machine()
    field = UnknownField("part[0]", message, 99)
    resource = received(FULL.type_url, "a", {"value": 1}, (field,))

    answer = take(made, DiscoveryResponse(FULL.type_url, "1", "n1", (resource,)))

    what = f"field 99 of {message} is not known"
    if is_refused:
        assert error(answer).startswith(f"TOY a: toy.part[0]: {what}")
    else:
        assert answer.events == (
            ConfigReported("TOY a", "toy.part[0]", f"{what} and has no effect"),
        )


def test_a_newer_control_plane_is_put_up_with_on_demand() -> None:
    chosen = Extensions(Registry("a"), Registry("b"), Registry("c"), unknown_fields="warn")
    made = machine(extensions=chosen)
    field = UnknownField("", "envoy.config.rbac.v3.RBAC", 9)
    resource = received(FULL.type_url, "a", {"value": 1}, (field,))

    answer = take(made, DiscoveryResponse(FULL.type_url, "1", "n1", (resource,)))

    assert answer.request is not None
    assert answer.request.error is None
    assert len(answer.events) == 1


def test_bytes_that_are_no_message_are_an_error_of_that_resource_alone() -> None:
    def decode() -> None:
        raise ConfigError("", "expected a Full, found bytes that are none")

    made = machine()
    broken = Received("a", b"\xff", FULL.type_url, decode)  # type: ignore[arg-type]  # it raises
    whole = received(FULL.type_url, "b", {"value": 1})

    answer = take(made, DiscoveryResponse(FULL.type_url, "1", "n1", (broken, whole)))

    assert error(answer) == "TOY a: toy: expected a Full, found bytes that are none"
    assert value(made, "b") == 1


def test_a_version_that_must_not_follow_the_one_in_force_is_refused_in_strict() -> None:
    def parse(reader: Reader, _: Extensions) -> object:
        return reader.integer("value")

    def only_up(previous: object, new: object) -> ConfigError | None:
        assert isinstance(previous, int)
        assert isinstance(new, int)
        return ConfigError("toy.value", "went down") if new < previous else None

    kind = ResourceType("TOY", FULL.type_url, "toy", parse, (), check_update=only_up)
    made = machine(kind=kind)
    take(made, push(FULL.type_url, {"a": {"value": 2}}))

    answer = take(made, push(FULL.type_url, {"a": {"value": 1}}, nonce="n2"))

    assert error(answer) == "TOY a: toy.value: went down"
    assert value(made, "a") == 2
