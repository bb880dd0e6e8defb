"""RateLimit: which descriptors a call has, by which it is counted.

Source: envoy.config.route.v3.RateLimit; Envoy, RateLimitPolicyEntryImpl.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

from meshsdk.call.context import CallContext
from meshsdk.call.message import Request
from meshsdk.config.extension import Extensions
from meshsdk.config.fields import MessageTable, check, honoured, not_built
from meshsdk.config.reader import Reader
from meshsdk.resources import rate_limit_actions
from meshsdk.resources.format_values import Values
from meshsdk.resources.rate_limit_actions import Action, Entry, parse_action
from meshsdk.resources.substitution_format import Format, parse_format

_MAX_STAGE: Final = 10
TABLE: Final = MessageTable(
    "envoy.config.route.v3.RateLimit",
    {
        **honoured("stage", "disable_key", "actions", "hits_addend", "x_ratelimit_option"),
        "limit": not_built("a limit of its own for the rate limit service"),
        "apply_on_stream_done": not_built("counting when the call is over"),
    },
)
HITS_TABLE: Final = MessageTable(
    "envoy.config.route.v3.RateLimit.HitsAddend",
    {
        **honoured("number", "format"),
        "is_negative_hits": not_built("giving back what was counted"),
    },
)
TABLES: Final = (TABLE, HITS_TABLE, *rate_limit_actions.TABLES)
_X_RATELIMIT: Final = {"UNSPECIFIED": None, "OFF": False, "DRAFT_VERSION_03": True}
Entries: TypeAlias = tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What one RateLimit says of a call."""

    entries: Entries
    hits: int = 1
    x_ratelimit_headers: bool | None = None
    """Whether the answer tells of this limit; None: as the filter says."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """One RateLimit; its actions give one entry each, or the call has no such descriptor."""

    actions: tuple[Action, ...]
    stage: int = 0
    disable_key: str = ""
    hits: int | Format = 1
    x_ratelimit_headers: bool | None = None
    not_built: tuple[str, ...] = ()

    def descriptor(self, request: Request, context: CallContext) -> Descriptor | None:
        """The call's descriptor; None where an action has nothing to say."""
        entries: list[Entry] = []
        for action in self.actions:
            found = action(request, context)
            if found is None:
                return None
            entries.extend(found)
        hits = self.hits
        if isinstance(hits, Format):
            text = hits.render(Values(context, request))
            if not text.isascii() or not text.isdigit():
                return None
            hits = int(text)
        return Descriptor(tuple(entries), hits, self.x_ratelimit_headers)


def parse_rate_limit(reader: Reader, extensions: Extensions) -> RateLimit:
    """A RateLimit; what it asks for that does not exist is in `not_built`."""
    missing = list(check(reader, TABLE))
    actions: list[Action] = []
    for action in reader.messages("actions", at_least=1):
        found = parse_action(action, extensions)
        missing.extend(found.not_built)
        if found.action is not None:
            actions.append(found.action)
    hits, unbuilt = _hits(reader.message("hits_addend"))
    return RateLimit(
        tuple(actions),
        reader.integer("stage", at_least=0, at_most=_MAX_STAGE),
        reader.string("disable_key"),
        hits,
        reader.enum("x_ratelimit_option", _X_RATELIMIT, "UNSPECIFIED"),
        (*missing, *unbuilt),
    )


def _hits(reader: Reader | None) -> tuple[int | Format, tuple[str, ...]]:
    if reader is None:
        return 1, ()
    missing = check(reader, HITS_TABLE)
    if reader.one_of("number", "format") == "format":
        text = parse_format(reader.string("format"), f"{reader.path}.format")
        return text, (*missing, *text.not_built)
    return reader.integer("number", 1, at_least=0), missing


def parse_rate_limits(
    reader: Reader, extensions: Extensions, field: str = "rate_limits"
) -> tuple[RateLimit, ...]:
    """The `rate_limits` of a route, a virtual host or a filter."""
    return tuple(parse_rate_limit(limit, extensions) for limit in reader.messages(field))
