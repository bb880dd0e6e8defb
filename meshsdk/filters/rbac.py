"""envoy.filters.http.rbac: who may ask for what."""

from dataclasses import dataclass
from functools import partial
from typing import Final

from meshsdk.call.context import CallContext
from meshsdk.call.decision_record import Judgement
from meshsdk.call.filter import Continue, HttpFilter, Verdict
from meshsdk.call.message import Request
from meshsdk.config.extension import Extensions, HttpFilterExtension, Override
from meshsdk.config.fields import MessageTable, check, honoured, ignored
from meshsdk.config.reader import Reader
from meshsdk.filters import rbac_matcher, rbac_rules
from meshsdk.filters.rbac_engine import Engine, Names, Ruling, parse_rules
from meshsdk.filters.rbac_matcher import parse_matcher
from meshsdk.filters.rbac_record import record
from meshsdk.matching import tree

NAMESPACE: Final = "envoy.filters.http.rbac"
TABLE: Final = MessageTable(
    "envoy.extensions.filters.http.rbac.v3.RBAC",
    {
        **honoured(
            "rules",
            "rules_stat_prefix",
            "matcher",
            "shadow_rules",
            "shadow_matcher",
            "shadow_rules_stat_prefix",
        ),
        "track_per_rule_stats": ignored("statistics"),
    },
    security=True,
)
PER_ROUTE_TABLE: Final = MessageTable(
    "envoy.extensions.filters.http.rbac.v3.RBACPerRoute", honoured("rbac"), security=True
)
TABLES: Final = (TABLE, PER_ROUTE_TABLE, *rbac_rules.TABLES, *rbac_matcher.TABLES, *tree.TABLES)


@dataclass(frozen=True, slots=True)
class Rbac:
    """The policies of one filter; None: there are none of that kind."""

    enforced: Engine | None = None
    shadow: Engine | None = None
    prefixes: tuple[str, str] = ("", "")
    """Of the metadata of enforced and of shadow rules."""

    def publishing_as(self, others: tuple[str, str]) -> "Rbac":
        """The same policies, under another filter's prefix where it has none of its own."""
        prefixes = self.prefixes[0] or others[0], self.prefixes[1] or others[1]
        if prefixes == self.prefixes:
            return self
        enforced, shadow = self.enforced, self.shadow
        return Rbac(
            None if enforced is None else enforced.named(Names.of(prefixes[0], "enforced")),
            None if shadow is None else shadow.named(Names.of(prefixes[1], "shadow")),
            prefixes,
        )

    def on_request(self, request: Request, context: CallContext) -> Verdict:
        """Shadow rules only publish; enforced ones publish and decide."""
        shadow = self.shadow
        if shadow is not None:
            ruling = shadow.decide(request, context)
            publish(context, NAMESPACE, ruling)
            judged(context, NAMESPACE, shadow, ruling, request)
        enforced = self.enforced
        if enforced is not None:
            ruling = enforced.decide(request, context)
            publish(context, NAMESPACE, ruling)
            if ruling.is_audited or not ruling.allowed:
                judged(context, NAMESPACE, enforced, ruling, request)
            if not ruling.allowed:
                return ruling.reply()
        return Continue(request)


def publish(context: CallContext, namespace: str, ruling: Ruling) -> None:
    """Add a ruling to the dynamic metadata; what earlier filters said stays where it says nothing."""
    known = context.dynamic_metadata.get(namespace)
    if known is None:
        context.dynamic_metadata[namespace] = dict(ruling.metadata)
    else:
        known.update(ruling.metadata)
    if ruling.log_hint is not None:
        context.metadata("envoy.common", "access_log_hint", ruling.log_hint)


def judged(
    context: CallContext, name: str, engine: Engine, ruling: Ruling, request: Request
) -> None:
    """Keep a denial, the result of a dry run, or what is audited, for whoever asks why."""
    explain = partial(record, name, engine, ruling, request, context)
    context.judgements += (
        Judgement(
            name,
            ruling.policy,
            ruling.allowed,
            ruling.is_shadow,
            ruling.statistics,
            explain,
            ruling.is_audited,
        ),
    )


def parse_engines(reader: Reader, extensions: Extensions) -> tuple[Engine | None, Engine | None]:
    """The enforced and the shadow engine of an HTTP or a network RBAC message."""
    enforced = Names.of(reader.string("rules_stat_prefix"), "enforced")
    shadow = Names.of(reader.string("shadow_rules_stat_prefix"), "shadow")
    strict = extensions.compat == "strict"
    return (
        _engine(reader, "rules", "matcher", enforced, strict=strict),
        _engine(reader, "shadow_rules", "shadow_matcher", shadow, strict=strict),
    )


def _engine(
    reader: Reader, rules: str, matcher: str, names: Names, *, strict: bool
) -> Engine | None:
    # Both are validated; the matcher wins (corpus: matcher-and-rules-both).
    rules_reader = reader.message(rules)
    by_rules = None if rules_reader is None else parse_rules(rules_reader, names, strict=strict)
    matcher_reader = reader.message(matcher)
    return by_rules if matcher_reader is None else parse_matcher(matcher_reader, names)


def parse(reader: Reader, extensions: Extensions) -> Rbac:
    """The filter of an envoy.extensions.filters.http.rbac.v3.RBAC; without rules it does nothing."""
    check(reader, TABLE)
    prefixes = reader.string("rules_stat_prefix"), reader.string("shadow_rules_stat_prefix")
    return Rbac(*parse_engines(reader, extensions), prefixes)


def parse_override(reader: Reader, extensions: Extensions) -> Override:
    """A route's own policies instead of the listener's; none: the filter is off there.

    They publish under the listener's prefixes where they have none (observed on Envoy 1.40).
    """
    check(reader, PER_ROUTE_TABLE)
    rbac = reader.message("rbac")
    replacement = Rbac() if rbac is None else parse(rbac, extensions)

    def override(whole: HttpFilter) -> HttpFilter:
        return replacement.publishing_as(whole.prefixes) if isinstance(whole, Rbac) else replacement

    return override


EXTENSION: Final = HttpFilterExtension(
    name=NAMESPACE,
    type_urls=("type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",),
    parse=parse,
    parse_override=parse_override,
    override_type_urls=("type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute",),
)
