"""Delegates: rules of one VirtualService inside those of another. Source: istiod,
mergeVirtualServicesIfNeeded."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from meshsdk.control_plane.istio.http_match import HttpMatch
from meshsdk.control_plane.istio.http_rule import HttpRule
from meshsdk.control_plane.istio.string_match import StringMatch
from meshsdk.control_plane.istio.virtual_service import VirtualService


def with_delegates(
    services: Iterable[VirtualService], default_export_to: tuple[str, ...]
) -> tuple[VirtualService, ...]:
    """The VirtualServices that have hosts, with what their delegates say in its place."""
    every = tuple(services)
    delegates = {
        (each.metadata.namespace, each.metadata.name): each for each in every if not each.hosts
    }
    found: list[VirtualService] = []
    for root in every:
        if not root.hosts:
            continue
        if any(rule.delegate for rule in root.http):
            rules = tuple(_merged(root, delegates, default_export_to))
            found.append(replace(root, http=rules))
        else:
            found.append(root)
    return tuple(found)


def _merged(
    root: VirtualService,
    delegates: Mapping[tuple[str, str], VirtualService],
    default: tuple[str, ...],
) -> Iterable[HttpRule]:
    for rule in root.http:
        if rule.delegate is None:
            yield rule
            continue
        delegate = delegates.get(rule.delegate)
        if delegate is None or not delegate.is_visible_to(root.metadata.namespace, default):
            continue  # as istiod: the rule is not there
        for inner in delegate.http:
            merged = _merge(rule, inner)
            if merged is not None:
                yield merged


def _merge(root: HttpRule, inner: HttpRule) -> HttpRule | None:
    """None where no request can match both."""
    matches = _merge_matches(root.matches, inner.matches)
    if matches is None:
        return None
    return replace(
        inner,
        name=_names(root.name, inner.name),
        matches=matches,
        rewrite=inner.rewrite or root.rewrite,
        timeout=root.timeout if inner.timeout is None else inner.timeout,
        retries=inner.retries or root.retries,
        fault=inner.fault or root.fault,
        mirrors=inner.mirrors or root.mirrors,
        cors=inner.cors or root.cors,
        headers=inner.headers or root.headers,
    )


def _names(root: str, inner: str) -> str:
    return f"{root}-{inner}" if root and inner else root or inner


def _merge_matches(
    roots: Sequence[HttpMatch], inners: Sequence[HttpMatch]
) -> tuple[HttpMatch, ...] | None:
    if not roots or not inners:
        return tuple(roots) or tuple(inners)
    found: list[HttpMatch] = []
    for inner in inners:
        within = [_merge_match(root, inner) for root in roots if not _conflict(root, inner)]
        if not within:
            return None  # one that no root holds costs the whole rule, as in istiod
        found += within
    return tuple(found)


def _merge_match(root: HttpMatch, inner: HttpMatch) -> HttpMatch:
    return replace(
        inner,
        name=_names(root.name, inner.name),
        uri=inner.uri or root.uri,
        scheme=inner.scheme or root.scheme,
        method=inner.method or root.method,
        authority=inner.authority or root.authority,
        headers={**root.headers, **inner.headers},
        without_headers={**root.without_headers, **inner.without_headers},
        query_params={**root.query_params, **inner.query_params},
        port=inner.port or root.port,
        source_labels={**root.source_labels, **inner.source_labels},
        source_namespace=inner.source_namespace or root.source_namespace,
        gateways=inner.gateways or root.gateways,
        stat_prefix=inner.stat_prefix or root.stat_prefix,
    )


def _conflict(root: HttpMatch, inner: HttpMatch) -> bool:
    pairs = [
        (root.uri, inner.uri),
        (root.scheme, inner.scheme),
        (root.method, inner.method),
        (root.authority, inner.authority),
    ]
    for outer, within in (
        (root.headers, inner.headers),
        (root.without_headers, inner.without_headers),
        (root.query_params, inner.query_params),
    ):
        pairs += [(match, within.get(name)) for name, match in outer.items()]
    if any(_strings_conflict(outer, within) for outer, within in pairs):
        return True
    return (
        root.ignore_uri_case != inner.ignore_uri_case
        or bool(root.port and inner.port and root.port != inner.port)
        or any(
            key in inner.source_labels and inner.source_labels[key] != value
            for key, value in root.source_labels.items()
        )
        or root.source_namespace not in ("", inner.source_namespace)
        or bool(root.gateways and not set(inner.gateways) <= set(root.gateways))
    )


def _strings_conflict(root: StringMatch | None, inner: StringMatch | None) -> bool:
    """Whether a delegate's condition is not within its root's."""
    if root is None or inner is None:
        return False
    if "regex" in (root.how, inner.how):
        return True
    if root.how == "exact":
        return inner.how != "exact" or inner.value != root.value
    if root.how == "prefix" and inner.how in ("prefix", "exact"):
        return not inner.value.startswith(root.value)
    return True
