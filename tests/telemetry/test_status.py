"""How we stand with the control plane, as events tell it."""

from meshsdk.telemetry.events import (
    ConfigAcknowledged,
    IdentityChanged,
    PlanPublished,
    ResourceRejected,
    SideCallEnded,
    StreamChanged,
)
from meshsdk.telemetry.status import StatusKeeper
from meshsdk.testing.clock import FakeClock

CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"


def test_a_mesh_that_heard_nothing_is_not_connected() -> None:
    status = StatusKeeper(FakeClock()).status()

    assert (status.connected, status.last_ack, status.stale_for) == (False, 0.0, 0.0)


def test_side_calls_are_counted_by_cluster_and_result() -> None:
    keeper = StatusKeeper(FakeClock())
    for result in ("grpc 0", "timeout", "grpc 0"):
        keeper.emit(SideCallEnded("authz", result, 0.01))

    lines = list(keeper.lines())

    assert 'meshsdk_side_calls_total{cluster_name="authz",result="grpc 0"} 2' in lines
    assert 'meshsdk_side_calls_total{cluster_name="authz",result="timeout"} 1' in lines


def test_a_lost_stream_makes_configuration_stale_from_then_on() -> None:
    clock = FakeClock()
    keeper = StatusKeeper(clock)
    keeper.emit(StreamChanged(True, "istiod:15012"))
    clock.advance(5.0)
    keeper.emit(StreamChanged(False, "istiod:15012", "UNAVAILABLE", 1.0))
    clock.advance(5.0)
    keeper.emit(StreamChanged(False, "istiod:15012", "UNAVAILABLE", 2.0))
    clock.advance(5.0)

    status = keeper.status()
    keeper.emit(StreamChanged(True, "istiod:15012"))

    assert (status.connected, status.stale_for, status.disconnect_reason) == (
        False,
        10.0,
        "UNAVAILABLE",
    )
    assert keeper.status().stale_for == 0.0


def test_a_stream_that_is_down_says_why_no_configuration_comes() -> None:
    keeper = StatusKeeper(FakeClock())

    unknown = keeper.why_none()
    keeper.emit(StreamChanged(False, "istiod:15012", "UNAVAILABLE refused", 1.0))
    down = keeper.why_none()
    keeper.emit(StreamChanged(True, "istiod:15012"))

    assert (unknown, keeper.why_none()) == ("", "")
    assert down == "the control plane istiod:15012 answers UNAVAILABLE refused"


def test_a_refused_resource_stays_named_until_a_better_one_comes() -> None:
    clock = FakeClock()
    keeper = StatusKeeper(clock)
    keeper.emit(ResourceRejected(CLUSTER, "a", "cluster.lb_policy: no"))
    keeper.emit(ResourceRejected(CLUSTER, "b", "cluster.lb_policy: no"))
    keeper.emit(ConfigAcknowledged(CLUSTER, ("a",)))

    status = keeper.status()

    assert [(r.name, r.error) for r in status.rejections] == [("b", "cluster.lb_policy: no")]
    assert status.last_ack == clock.time()
    assert (status.acks, status.nacks) == ({CLUSTER: 1}, {CLUSTER: 2})


def test_the_same_is_there_as_metrics() -> None:
    keeper = StatusKeeper(FakeClock(time=100.0))
    keeper.emit(StreamChanged(True, "istiod:15012"))
    keeper.emit(PlanPublished(7, 1, 1, 0.1))
    keeper.emit(ConfigAcknowledged(CLUSTER))
    keeper.emit(IdentityChanged("spiffe://td/ns/a/sa/b", "fresh", 3600.0))

    lines = list(keeper.lines())

    server = 'grpc_xds_server="istiod:15012"'
    kind = 'grpc_xds_resource_type="envoy.config.cluster.v3.Cluster"'
    assert f"grpc_xds_client_connected{{{server}}} 1" in lines
    assert f"grpc_xds_client_resource_updates_valid_total{{{server},{kind}}} 1" in lines
    assert "meshsdk_config_version 7" in lines
    assert "meshsdk_xds_last_ack_timestamp_seconds 100" in lines
    assert 'meshsdk_identity_info{state="fresh",spiffe_id="spiffe://td/ns/a/sa/b"} 1' in lines
    assert "meshsdk_certificate_expiration_timestamp_seconds 3600" in lines
