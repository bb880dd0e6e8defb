"""Small messages that parsers read whole, within the message around them, without a check.

Each table therefore names every field that there is; tests/test_house.py compares.
"""

from typing import Final

from meshsdk.config.fields import MessageTable, honoured, ignored, not_built
from meshsdk.matching import regex, strings

_TELEMETRY: Final = ignored("telemetry")
_SOCKETS: Final = ignored("a matter of sockets")
_HCM: Final = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"

TABLES: Final = (
    # core
    MessageTable(
        "envoy.config.core.v3.Metadata",
        honoured("filter_metadata")
        | {"typed_filter_metadata": ignored("no matcher and no policy reads typed metadata")},
    ),
    MessageTable("envoy.config.core.v3.Locality", honoured("region", "zone", "sub_zone")),
    MessageTable(
        "envoy.config.core.v3.Pipe", honoured("path") | {"mode": ignored("nothing is bound")}
    ),
    MessageTable("envoy.config.core.v3.HealthStatusSet", honoured("statuses")),
    MessageTable(
        "envoy.config.core.v3.RuntimeDouble",
        honoured("default_value") | {"runtime_key": ignored("the default value holds")},
    ),
    MessageTable(
        "envoy.config.core.v3.SelfConfigSource",
        {"transport_api_version": ignored("there is v3 only")},
    ),
    MessageTable("envoy.type.v3.Percent", honoured("value")),
    MessageTable("xds.core.v3.CidrRange", honoured("address_prefix", "prefix_len"), security=True),
    # The parsers of Envoy's own StringMatcher and RegexMatcher read these too.
    MessageTable("xds.type.matcher.v3.StringMatcher", strings.TABLE.fields, security=True),
    MessageTable("xds.type.matcher.v3.RegexMatcher", regex.REGEX_TABLE.fields, security=True),
    # access logs and tracing
    MessageTable("envoy.config.accesslog.v3.StatusCodeFilter", honoured("comparison")),
    MessageTable("envoy.config.accesslog.v3.DurationFilter", honoured("comparison")),
    MessageTable("envoy.config.accesslog.v3.AndFilter", honoured("filters")),
    MessageTable("envoy.config.accesslog.v3.OrFilter", honoured("filters")),
    MessageTable("envoy.config.accesslog.v3.HeaderFilter", honoured("header")),
    MessageTable("envoy.config.accesslog.v3.ResponseFlagFilter", honoured("flags")),
    MessageTable("envoy.config.accesslog.v3.GrpcStatusFilter", honoured("statuses", "exclude")),
    MessageTable(
        "envoy.config.accesslog.v3.MetadataFilter", honoured("matcher", "match_if_key_not_found")
    ),
    MessageTable("envoy.config.accesslog.v3.LogTypeFilter", honoured("types", "exclude")),
    MessageTable("envoy.type.tracing.v3.CustomTag.Literal", honoured("value")),
    MessageTable("envoy.type.tracing.v3.CustomTag.Header", honoured("name", "default_value")),
    MessageTable(
        "envoy.type.tracing.v3.CustomTag.Metadata",
        honoured("kind", "metadata_key", "default_value"),
    ),
    MessageTable(
        "envoy.type.metadata.v3.MetadataKind",
        honoured("request")
        | {name: ignored("of the request alone") for name in ("route", "cluster", "host")},
    ),
    MessageTable(
        "envoy.config.trace.v3.Tracing.Http",
        {"name": _TELEMETRY, "typed_config": ignored("spans go where the SDK sends them")},
    ),
    # listeners
    MessageTable(
        "envoy.config.listener.v3.ListenerFilterChainMatchPredicate.MatchSet",
        honoured("rules"),
        security=True,
    ),
    MessageTable(
        "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
        {
            "enable_ja3_fingerprinting": _TELEMETRY,
            "enable_ja4_fingerprinting": _TELEMETRY,
            "initial_read_buffer_size": _SOCKETS,
            "max_client_hello_size": _SOCKETS,
            "close_connection_on_client_hello_parsing_errors": ignored(
                "a connection that begins with a TLS record is never plaintext"
            ),
        },
        security=True,
    ),
    MessageTable(f"{_HCM}.InternalAddressConfig", honoured("unix_sockets", "cidr_ranges")),
    MessageTable(
        f"{_HCM}.SetCurrentClientCertDetails",
        honoured("subject", "cert", "chain", "dns", "uri")
        | {
            "issuer": not_built("the issuer in x-forwarded-client-cert"),
            "format": not_built("other formats of x-forwarded-client-cert"),
        },
    ),
    MessageTable(
        "envoy.extensions.filters.network.http_connection_manager.v3.RequestIDExtension",
        honoured("typed_config"),
    ),
    MessageTable(
        "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig",
        {"pack_trace_reason": _TELEMETRY, "use_request_id_for_trace_sampling": _TELEMETRY},
    ),
    # clusters
    MessageTable(
        "envoy.config.cluster.v3.Filter",
        honoured("name", "typed_config")
        | {"config_discovery": not_built("upstream network filters by discovery")},
    ),
    MessageTable(
        "envoy.config.cluster.v3.Cluster.RefreshRate", honoured("base_interval", "max_interval")
    ),
    MessageTable(
        "envoy.extensions.clusters.dns.v3.DnsCluster.RefreshRate",
        honoured("base_interval", "max_interval"),
    ),
    MessageTable(
        "envoy.config.endpoint.v3.ClusterLoadAssignment.Policy.DropOverload",
        honoured("category", "drop_percentage"),
    ),
    MessageTable(
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions.OutlierDetection",
        honoured("error_matcher"),
    ),
    MessageTable("envoy.config.common.matcher.v3.HttpHeadersMatch", honoured("headers")),
    MessageTable("envoy.config.common.matcher.v3.MatchPredicate.MatchSet", honoured("rules")),
    # routes
    MessageTable("envoy.config.route.v3.RetryPolicy.ResetHeader", honoured("name", "format")),
    MessageTable(
        "envoy.config.route.v3.RetryPolicy.RetryPriority", honoured("name", "typed_config")
    ),
)
