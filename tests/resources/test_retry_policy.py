"""Retry policies."""

import pytest

from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError
from meshsdk.resources.retry_policy import RetryPolicy, parse_hedge_policy, parse_retry_policy


def policy(**fields: object) -> RetryPolicy:
    return parse_retry_policy(Reader(fields, "retry_policy"))


def test_an_empty_policy_has_envoys_defaults() -> None:
    found = policy()

    assert found == RetryPolicy()
    assert (found.num_retries, found.base_interval, found.max_interval) == (1, 0.025, 0.25)


def test_istios_default_policy_is_read() -> None:
    found = policy(
        retry_on="connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
        num_retries=2,
        retry_host_predicate=[
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3"
                    ".PreviousHostsPredicate"
                },
            }
        ],
        host_selection_retry_max_attempts="5",
        retriable_status_codes=[503],
    )

    assert found.retry_on == {
        "connect-failure",
        "refused-stream",
        "unavailable",
        "cancelled",
        "retriable-status-codes",
    }
    assert found.omit_previous_hosts
    assert found.host_selection_retry_max_attempts == 5
    assert found.retriable_status_codes == (503,)
    assert found.not_built == ()


def test_words_that_envoy_does_not_know_are_dropped() -> None:
    assert policy(retry_on="5xx, nonsense ,,internal").retry_on == {"5xx", "internal"}


def test_the_maximum_backoff_is_ten_times_the_base() -> None:
    found = policy(retry_back_off={"base_interval": "0.2s"})

    assert (found.base_interval, found.max_interval) == (0.2, 2.0)


def test_predicates_that_change_options_are_reported() -> None:
    assert policy(retry_options_predicates=[{"name": "x"}]).not_built == (
        "retry_policy.retry_options_predicates",
    )


REFUSED: list[tuple[str, dict[str, object]]] = [
    ("retry_back_off.base_interval", {"retry_back_off": {}}),
    ("retry_back_off.base_interval", {"retry_back_off": {"base_interval": "0s"}}),
    (
        "retry_back_off.max_interval",
        {"retry_back_off": {"base_interval": "2s", "max_interval": "1s"}},
    ),
    ("rate_limited_retry_back_off.reset_headers", {"rate_limited_retry_back_off": {}}),
    ("retry_host_predicate[0].name", {"retry_host_predicate": [{"name": "unheard-of"}]}),
    ("retry_priority.name", {"retry_priority": {"name": "unheard-of"}}),
]


@pytest.mark.parametrize(("path", "fields"), REFUSED)
def test_what_envoy_refuses_is_refused_with_its_path(path: str, fields: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as refusal:
        policy(**fields)

    assert refusal.value.path == f"retry_policy.{path}"


def test_hedging_is_read() -> None:
    found = parse_hedge_policy(Reader({"hedge_on_per_try_timeout": True}, "hedge_policy"))

    assert found.hedge_on_per_try_timeout
