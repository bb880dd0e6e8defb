"""What becomes of a typed config that has no table: taken whole, skipped by name, or refused."""

import re
from dataclasses import dataclass
from typing import Final

from meshsdk.config.extension import Extensions, HttpFilterExtension, Registry
from meshsdk.config.fields import Use
from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError
from meshsdk.filters import HTTP_FILTERS, NETWORK_FILTERS
from meshsdk.filters.not_built import INERT, NotBuilt
from meshsdk.lb_policies import LB_POLICIES
from meshsdk.resources import hcm, tcp_proxy
from meshsdk.resources.filter_overrides import find_override
from meshsdk.resources.skipped_filters import AUTHORIZATION, HTTP, NETWORK
from meshsdk.wire.pool import type_url
from meshsdk.wire.walk import Held

SKIPPED: Final = "skipped"
_HTTP_FILTER: Final = "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter"
_NETWORK_FILTER: Final = "envoy.config.listener.v3.Filter"
_TERMINAL: Final = frozenset({hcm.TYPE_URL, tcp_proxy.TYPE_URL})
_CLUSTER_FILTER: Final = "envoy.config.cluster.v3.Filter"
_DISCOVERED: Final = "envoy.config.core.v3.TypedExtensionConfig"
_FILTER_CONFIG: Final = "envoy.config.route.v3.FilterConfig"
_OVERRIDE: Final = re.compile(r"typed_per_filter_config\[[^\]]*\](\.value)?\Z")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happens to an extension's config."""

    use: str
    why: str


def registries() -> Extensions:
    """Everything that is built in."""
    return Extensions(
        http_filters=Registry("HTTP filter", HTTP_FILTERS),
        network_filters=Registry("network filter", NETWORK_FILTERS),
        lb_policies=Registry("load balancing policy", LB_POLICIES),
    )


def judge_extension(held: Held, parent: Held, extensions: Extensions) -> Outcome | None:
    """None: it is taken, or what takes it is not a registry's business."""
    url = type_url(held.message)
    match parent.message:
        case str(message) if message == _HTTP_FILTER:
            optional = parent.data.get("is_optional") is True
            return _http_filter(held, extensions, optional=optional)
        case str(message) if message == _NETWORK_FILTER:
            if url in NETWORK:
                return Outcome(SKIPPED, NETWORK[url])
            if url not in _TERMINAL and extensions.network_filters.find(url) is None:
                return Outcome(Use.REFUSED.value, "no network filter takes it")
        case str(message) if message == _CLUSTER_FILTER:
            if url in NETWORK:
                return Outcome(SKIPPED, NETWORK[url])
            return Outcome(Use.NOT_BUILT.value, "network filters of the upstream side")
        case str(message) if message == _DISCOVERED and held.path == "typed_config":
            if url not in HTTP and extensions.http_filters.find(url) is None:
                why = "a discovered filter that no HTTP filter takes"
                return Outcome(Use.REFUSED.value if url in AUTHORIZATION else SKIPPED, why)
        case str(message) if message == _FILTER_CONFIG or _OVERRIDE.search(held.path):
            return _override(held, extensions)
        case _:
            pass
    return None


def _http_filter(held: Held, extensions: Extensions, *, optional: bool) -> Outcome | None:
    url = type_url(held.message)
    if url in HTTP:
        return Outcome(SKIPPED, HTTP[url])
    extension = extensions.http_filters.find(url)
    if extension is not None:
        return _whole(extension, held, extensions)
    if optional and url not in AUTHORIZATION:
        return Outcome(SKIPPED, "optional, and no HTTP filter takes it")
    return Outcome(Use.REFUSED.value, "no HTTP filter takes it")


def _whole(extension: HttpFilterExtension, held: Held, extensions: Extensions) -> Outcome | None:
    try:
        extension.parse(Reader(held.data), extensions)
    except ConfigError as error:
        return Outcome(Use.REFUSED.value, error.problem)
    return None


def _override(held: Held, extensions: Extensions) -> Outcome | None:
    extension = find_override(extensions, type_url(held.message))
    if extension is None or extension.parse_override is None:
        return Outcome(Use.REFUSED.value, "no HTTP filter takes it in a route")
    try:
        found = extension.parse_override(Reader(held.data), extensions)(INERT)
    except ConfigError as error:
        return Outcome(Use.REFUSED.value, error.problem)
    if isinstance(found, NotBuilt):
        return Outcome(Use.NOT_BUILT.value, "the filter is not built")
    return None
