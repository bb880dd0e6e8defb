"""`cors` of a route or a virtual host: the older form of the cors filter's override."""

from typing import Final

from meshsdk.config.extension import Extensions, Override
from meshsdk.config.reader import Reader
from meshsdk.errors import UnknownExtensionError
from meshsdk.resources.filter_overrides import find_override

FILTER: Final = "envoy.filters.http.cors"
"""The name under which listeners have the filter that these policies are for."""
_URL: Final = "type.googleapis.com/envoy.config.route.v3.CorsPolicy"


def parse_route_cors(reader: Reader, extensions: Extensions) -> Override | None:
    """The policy as an override of the filter; None where the level has none."""
    found = reader.message("cors")
    if found is None:
        return None
    extension = find_override(extensions, _URL)
    if extension is None or extension.parse_override is None:
        raise UnknownExtensionError(found.path, f"no HTTP filter takes {_URL} in a route", _URL)
    return extension.parse_override(Reader({**found.value, "@type": _URL}, found.path), extensions)
