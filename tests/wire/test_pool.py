import subprocess
import sys

import pytest

from meshsdk.wire.bootstrap_form import SHORT_NAMES
from meshsdk.wire.pool import find_message_class, full_name, message_class, service, type_url


def test_importing_the_room_imports_no_protobuf_and_no_grpc() -> None:
    code = "import meshsdk.wire, sys; print([m for m in ('google.protobuf', 'grpc') if m in sys.modules])"

    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )

    assert found.stdout == "[]\n"


def test_the_private_pool_lives_beside_generated_code_of_the_same_files() -> None:
    code = (
        "from google.protobuf import duration_pb2, struct_pb2, any_pb2\n"
        "from meshsdk.wire.pool import message_class\n"
        "assert message_class('google.protobuf.Duration') is not duration_pb2.Duration"
    )

    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


@pytest.mark.parametrize(
    "name",
    [
        *SHORT_NAMES.values(),
        "envoy.admin.v3.BootstrapConfigDump",
        "envoy.admin.v3.EcdsConfigDump",
        "envoy.admin.v3.EndpointsConfigDump",
        "envoy.config.bootstrap.v3.Bootstrap",
        "envoy.config.rbac.v3.Action",
        "envoy.extensions.access_loggers.file.v3.FileAccessLog",
        "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig",
        "envoy.extensions.clusters.aggregate.v3.ClusterConfig",
        "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
        "envoy.extensions.filters.http.jwt_authn.v3.ExtractOnlyWithoutValidation",
        "envoy.extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute",
        "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol",
        "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz",
        "envoy.extensions.filters.network.mongo_proxy.v3.MongoProxy",
        "envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState",
        "envoy.extensions.load_balancing_policies.pick_first.v3.PickFirst",
        "envoy.extensions.load_balancing_policies.subset.v3.Subset",
        "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
        "envoy.extensions.rbac.principals.mtls_authenticated.v3.Config",
        "envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport",
        "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig",
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
        "stats.PluginConfig",
        "xds.data.orca.v3.OrcaLoadReport",
        "xds.type.matcher.v3.Matcher",
    ],
)
def test_the_set_has_the_messages_that_feeds_carry(name: str) -> None:
    assert message_class(name).DESCRIPTOR.full_name == name


@pytest.mark.parametrize(
    "name",
    [
        "envoy.service.auth.v3.Authorization",
        "envoy.service.discovery.v3.AggregatedDiscoveryService",
        "envoy.service.ratelimit.v3.RateLimitService",
        "envoy.service.secret.v3.SecretDiscoveryService",
        "envoy.service.status.v3.ClientStatusDiscoveryService",
        "istio.v1.auth.IstioCertificateService",
        "SpiffeWorkloadAPI",
    ],
)
def test_the_set_has_the_services_that_we_call_or_serve(name: str) -> None:
    assert service(name).full_name == name


def test_every_message_of_the_set_can_be_made() -> None:
    cluster = message_class("envoy.config.cluster.v3.Cluster")
    assert cluster.FromString(b"") == cluster()
    assert find_message_class("acme.Unknown") is None


def test_a_type_url_and_a_name_are_each_others_inverse() -> None:
    assert type_url("a.B") == "type.googleapis.com/a.B"
    assert full_name("other.example/a.B") == full_name("a.B") == "a.B"
