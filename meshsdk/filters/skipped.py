"""Filters that every istiod listener carries with an empty config, which has no effect.

A config that asks for something is refused by name; a route's override that does is met by the
calls that take the route.
"""

from typing import Final

from meshsdk.call.filter import HttpFilter
from meshsdk.config.extension import Extensions, HttpFilterExtension, Override
from meshsdk.config.reader import Reader
from meshsdk.filters.not_built import INERT, Inert, NotBuilt


def _parse(reader: Reader, _: Extensions) -> Inert:
    """Only the empty config; ConfigError names the first field of another."""
    for name in reader.names():
        raise reader.error_at(name, f"{reader.type_url.rpartition('/')[2]} is not built")
    return INERT


def _parse_override(reader: Reader, _: Extensions) -> Override:
    names = reader.names()
    instead: HttpFilter = NotBuilt(reader.type_url.rpartition("/")[2]) if names else INERT

    def override(_: HttpFilter) -> HttpFilter:
        return instead

    return override


FAULT: Final = HttpFilterExtension(
    name="envoy.filters.http.fault",
    type_urls=("type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault",),
    parse=_parse,
    parse_override=_parse_override,
)
CORS: Final = HttpFilterExtension(
    name="envoy.filters.http.cors",
    type_urls=("type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors",),
    parse=_parse,
    parse_override=_parse_override,
    override_type_urls=("type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy",),
)
