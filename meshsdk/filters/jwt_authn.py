"""envoy.filters.http.jwt_authn: whose token a request carries.

Only this door is loaded with the room: the filter brings cryptography, for configs that ask for it.
"""

from typing import Final

from meshsdk.call.filter import HttpFilter
from meshsdk.config.extension import Extensions, HttpFilterExtension, Override
from meshsdk.config.reader import Reader

NAMESPACE: Final = "envoy.filters.http.jwt_authn"


def parse(reader: Reader, extensions: Extensions) -> HttpFilter:
    """The filter of a JwtAuthentication."""
    from meshsdk.filters import jwt_authn_filter

    return jwt_authn_filter.parse(reader, extensions)


def parse_override(reader: Reader, extensions: Extensions) -> Override:
    """What a route's PerRouteConfig makes of it."""
    from meshsdk.filters import jwt_authn_filter

    return jwt_authn_filter.parse_override(reader, extensions)


EXTENSION: Final = HttpFilterExtension(
    name=NAMESPACE,
    type_urls=("type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",),
    parse=parse,
    parse_override=parse_override,
    override_type_urls=(
        "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig",
    ),
)
