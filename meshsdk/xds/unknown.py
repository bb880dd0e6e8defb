"""Fields that our descriptors do not have: a match without one means more than was meant."""

from typing import Final, Literal

from meshsdk.errors import ConfigError
from meshsdk.xds.messages import Decoded, UnknownField

# Messages that decide who may pass or what matches; a name that ends with a dot is a package.
_REFUSED: Final = (
    "envoy.config.rbac.v3.",
    "envoy.extensions.filters.http.rbac.v3.",
    "envoy.extensions.filters.network.rbac.v3.",
    "envoy.extensions.filters.http.jwt_authn.v3.",
    "envoy.extensions.filters.http.ext_authz.v3.",
    "envoy.extensions.filters.network.ext_authz.v3.",
    "envoy.extensions.transport_sockets.tls.v3.",
    "envoy.type.matcher.v3.",
    "xds.type.matcher.v3.",
    "envoy.config.route.v3.RouteMatch",
    "envoy.config.route.v3.HeaderMatcher",
    "envoy.config.route.v3.QueryParameterMatcher",
    "envoy.config.listener.v3.FilterChainMatch",
    "envoy.config.listener.v3.ListenerFilterChainMatchPredicate",
    "envoy.config.core.v3.CidrRange",
    "envoy.config.core.v3.DataSource",
)


def refuses(message: str) -> bool:
    """Whether an unknown field in a message of this name is refused."""
    return any(
        message.startswith(name)
        if name.endswith(".")
        else message == name or message.startswith(f"{name}.")
        for name in _REFUSED
    )


def judge(
    decoded: Decoded, root: str, unknown_fields: Literal["refuse", "warn"]
) -> tuple[tuple[str, str], ...]:
    """Path and reason of each unknown field that is left out; ConfigError for refused ones."""
    reports: list[tuple[str, str]] = []
    for field in decoded.unknown:
        path = f"{root}.{field.path}" if field.path else root
        what = _describe(field)
        if unknown_fields == "refuse" and refuses(field.message):
            raise ConfigError(path, f"{what} is not known; in a match or a policy it is refused")
        reports.append((path, f"{what} is not known and has no effect"))
    return tuple(reports)


def _describe(field: UnknownField) -> str:
    return f"field {field.name or field.number} of {field.message}"
