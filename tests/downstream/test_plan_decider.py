"""What becomes of an accepted connection, by the filter chain that takes it."""

import pytest

from meshsdk.call.connection import Connection
from meshsdk.downstream.decision import Close, Decision, Passthrough, Plaintext, Tls
from meshsdk.downstream.plan_decider import PlanDecider
from meshsdk.errors import IdentityError
from meshsdk.flow.plan import Plan
from meshsdk.identity.sources.static import StaticSource
from meshsdk.identity.tls_contexts import TlsContexts
from meshsdk.runtime.tls import FeedTls
from meshsdk.testing import FakeCa, FakeClock
from tests.flow.plans import Mesh
from tests.flow.test_inbound import ALICE, PLAIN, STRICT, chain, connection, listener

UNMATCHED_TLS = listener(chain("{destination_port: 8080}", tls=True))
UNMATCHED_PLAIN = listener(chain("{destination_port: 8080}"))
TCP = listener(
    """
    - filter_chain_match: {destination_port: 8080}
      filters:
      - name: tcp
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: x
          cluster: app
"""
)
TLS = connection(ALICE)
PLAINTEXT = connection(None)


def decided(config: str | None, accepted: Connection, *, is_identified: bool = True) -> Decision:
    plan: Plan | None = None if config is None else Mesh(config).plan
    clock = FakeClock()
    contexts = TlsContexts(clock)
    if is_identified:
        contexts.adopt(StaticSource(FakeCa("cluster.local").context("a/me"), clock).poll())
    return PlanDecider(lambda: plan, lambda: FeedTls(contexts, lambda: {})).decide(accepted)


@pytest.mark.parametrize(
    ("config", "accepted", "reason"),
    [
        (None, TLS, "no configuration has arrived"),
        (None, PLAINTEXT, "no configuration has arrived"),
        (STRICT, PLAINTEXT, "no filter chain takes plaintext connections"),
        (PLAIN, TLS, "no filter chain takes TLS connections"),
        (STRICT, connection(ALICE, port=9999), "no filter chain takes TLS connections"),
        (UNMATCHED_TLS, PLAINTEXT, "plaintext, where the filter chain speaks TLS"),
        (UNMATCHED_PLAIN, TLS, "TLS, where the filter chain speaks plaintext HTTP"),
    ],
)
def test_a_connection_that_no_chain_means_is_closed_and_told_why(
    config: str | None, accepted: Connection, reason: str
) -> None:
    found = decided(config, accepted)

    assert isinstance(found, Close)
    assert reason in found.reason


@pytest.mark.parametrize(
    ("config", "accepted", "kind"),
    [
        (STRICT, TLS, Tls),
        (UNMATCHED_TLS, TLS, Tls),
        (PLAIN, PLAINTEXT, Plaintext),
        (TCP, PLAINTEXT, Plaintext),
        (TCP, TLS, Passthrough),
    ],
)
def test_a_chain_takes_what_it_speaks(
    config: str, accepted: Connection, kind: type[Decision]
) -> None:
    assert isinstance(decided(config, accepted), kind)


def test_without_a_certificate_of_ours_no_handshake_begins() -> None:
    with pytest.raises(IdentityError):
        decided(STRICT, TLS, is_identified=False)
