"""Circuit breaker counts."""

from meshsdk.resilience.breakers import Breakers, PriorityBreakers
from meshsdk.resources.circuit_breakers import RetryBudget, Thresholds
from tests.lb_policies.clusters import cluster_config, parse_cluster


def test_requests_beyond_the_limit_are_refused_until_one_ends() -> None:
    breakers = PriorityBreakers(Thresholds(max_requests=2))

    assert [breakers.try_request() for _ in range(3)] == [True, True, False]
    breakers.end_request()
    assert breakers.try_request()


def test_waiting_calls_have_their_own_limit() -> None:
    breakers = PriorityBreakers(Thresholds(max_pending_requests=1))

    assert [breakers.try_pending() for _ in range(2)] == [True, False]
    breakers.end_pending()
    assert breakers.try_pending()


def test_a_host_without_connections_may_always_open_one() -> None:
    breakers = PriorityBreakers(Thresholds(max_connections=1))

    assert breakers.try_connection(first_to_host=True)
    assert not breakers.try_connection(first_to_host=False)
    assert breakers.try_connection(first_to_host=True)
    breakers.end_connection()
    assert breakers.connections == 1


def test_a_budget_allows_its_percentage_but_never_fewer_than_its_minimum() -> None:
    breakers = PriorityBreakers(Thresholds(max_retries=0, retry_budget=RetryBudget(20.0, 3)))
    assert breakers.max_retries == 3

    breakers.requests, breakers.pending = 60, 40

    assert breakers.max_retries == 20


def test_priorities_are_counted_apart_and_a_push_changes_limits_only() -> None:
    limits = [{"max_requests": 0}, {"priority": "HIGH", "max_requests": 1}]
    cluster = parse_cluster(cluster_config(circuit_breakers={"thresholds": limits}))
    breakers = Breakers(cluster)

    assert not breakers.of("DEFAULT").try_request()
    assert breakers.of("HIGH").try_request()
    breakers.update(parse_cluster(cluster_config()).circuit_breakers)
    assert breakers.of("DEFAULT").try_request()
    assert breakers.of("HIGH").requests == 1
