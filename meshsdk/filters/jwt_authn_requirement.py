"""JwtRequirement: which tokens a request must show. Source: Envoy, Verifier."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from meshsdk.call.effects import Flow
from meshsdk.config.fields import MessageTable, check, honoured
from meshsdk.config.reader import Reader
from meshsdk.filters.jwt_authn_authenticator import GOOD, MISSED, Authenticator, Walk
from meshsdk.filters.jwt_authn_cache import TokenCache
from meshsdk.filters.jwt_authn_extractor import header_name, make_extractor
from meshsdk.filters.jwt_authn_provider import Audiences, Provider, Providers
from meshsdk.identity.jwt import Refused, Rules
from meshsdk.identity.jwt_status import JwtStatus

_KINDS: Final = (
    "provider_name",
    "provider_and_audiences",
    "requires_any",
    "requires_all",
    "allow_missing_or_failed",
    "allow_missing",
    "extract_only_without_validation",
)
TABLE: Final = MessageTable(
    "envoy.extensions.filters.http.jwt_authn.v3.JwtRequirement", honoured(*_KINDS), security=True
)
AUDIENCES_TABLE: Final = MessageTable(
    "envoy.extensions.filters.http.jwt_authn.v3.ProviderWithAudiences",
    honoured("provider_name", "audiences"),
    security=True,
)
ANY_TABLE: Final = MessageTable(
    "envoy.extensions.filters.http.jwt_authn.v3.JwtRequirementOrList",
    honoured("requirements"),
    security=True,
)
ALL_TABLE: Final = MessageTable(
    "envoy.extensions.filters.http.jwt_authn.v3.JwtRequirementAndList",
    honoured("requirements"),
    security=True,
)
EXTRACT_TABLE: Final = MessageTable(
    "envoy.extensions.filters.http.jwt_authn.v3.ExtractOnlyWithoutValidation",
    honoured("verification_status_header"),
    security=True,
)
TABLES: Final = (TABLE, AUDIENCES_TABLE, ANY_TABLE, ALL_TABLE, EXTRACT_TABLE)

_STATUS_HEADER: Final = "x-jwt-signature-verified"
_NOT_THERE: Final = frozenset({JwtStatus.MISSED, JwtStatus.UNKNOWN_ISSUER})


class Requirement(Protocol):
    """What a request must show."""

    def run(self, walk: Walk) -> Flow[Refused]:
        """Whether it does: `GOOD`, or why not."""
        ...


@dataclass(frozen=True, slots=True)
class Nothing:
    """An empty requirement."""

    def run(self, walk: Walk) -> Flow[Refused]:
        del walk
        return GOOD
        yield  # a flow that asks for nothing


@dataclass(frozen=True, slots=True, eq=False)
class AnyOf:
    """One of several; bad or missing tokens may be allowed besides."""

    requirements: tuple[Requirement, ...]
    allow_missing: bool
    allow_failed: bool

    def at_once(self, walk: Walk) -> bool:
        """As the first of them."""
        first = self.requirements[0]
        return isinstance(first, (Authenticator, AnyOf)) and first.at_once(walk)

    def run(self, walk: Walk) -> Flow[Refused]:
        worst = MISSED
        for requirement in self.requirements:
            verdict = yield from requirement.run(walk)
            if verdict.status is JwtStatus.OK:
                return verdict
            # A bad token says more than a missing one or another issuer's.
            if verdict.status not in _NOT_THERE or worst.status is JwtStatus.MISSED:
                worst = verdict
        if self.allow_failed or (self.allow_missing and worst.status is JwtStatus.MISSED):
            return GOOD
        return worst


@dataclass(frozen=True, slots=True, eq=False)
class AllOf:
    """Every one; the first that fails says why."""

    requirements: tuple[Requirement, ...]

    def run(self, walk: Walk) -> Flow[Refused]:
        for requirement in self.requirements:
            verdict = yield from requirement.run(walk)
            if verdict.status is not JwtStatus.OK:
                return verdict
        return GOOD


@dataclass(frozen=True, slots=True, eq=False)
class AllowMissing:
    """No token, or a good one."""

    authenticator: Authenticator

    def run(self, walk: Walk) -> Flow[Refused]:
        verdict = yield from self.authenticator.run(walk)
        return GOOD if verdict.status is JwtStatus.MISSED else verdict


@dataclass(frozen=True, slots=True, eq=False)
class AllowFailed:
    """Always met; good tokens are handed on. `status_header` tells the application of a bad one."""

    authenticator: Authenticator
    status_header: str = ""

    def run(self, walk: Walk) -> Flow[Refused]:
        verdict = yield from self.authenticator.run(walk)
        if self.status_header and verdict.status not in (JwtStatus.OK, JwtStatus.MISSED):
            headers = walk.request.headers.set(self.status_header, "false")
            walk.request = walk.request.with_headers(headers)
        return GOOD


@dataclass(frozen=True, slots=True)
class RequirementParser:
    """Parses requirements over the providers of one filter."""

    providers: Providers
    rules: Rules

    def parse(self, reader: Reader) -> Requirement:
        """A JwtRequirement; ConfigError where it names a provider that is not there."""
        check(reader, TABLE)
        match reader.one_of(*_KINDS):
            case None:
                return Nothing()
            case "provider_name":
                return self._of(self._provider(reader), None)
            case "provider_and_audiences":
                pair = reader.required_message("provider_and_audiences")
                check(pair, AUDIENCES_TABLE)
                audiences = pair.strings("audiences")
                return self._of(
                    self._provider(pair), Audiences.of(audiences) if audiences else None
                )
            case "requires_any":
                return self._any(reader.required_message("requires_any"))
            case "requires_all":
                listed = reader.required_message("requires_all")
                check(listed, ALL_TABLE)
                return AllOf(listed.each("requirements", self.parse, at_least=2))
            case "allow_missing":
                return AllowMissing(self._of_all())
            case "allow_missing_or_failed":
                return AllowFailed(self._of_all())
            case _:
                return self._extract(reader.required_message("extract_only_without_validation"))

    def _any(self, reader: Reader) -> Requirement:
        check(reader, ANY_TABLE)
        readers = reader.messages("requirements", at_least=2)
        kinds = [item.one_of(*_KINDS) for item in readers]
        missing, failed = "allow_missing" in kinds, "allow_missing_or_failed" in kinds
        rest = tuple(
            self.parse(item)
            for item, kind in zip(readers, kinds, strict=True)
            if kind not in ("allow_missing", "allow_missing_or_failed")
        )
        if not rest:
            only = AllowFailed(self._of_all()) if failed else AllowMissing(self._of_all())
            rest = (only,)
        return AnyOf(rest, missing, failed)

    def _extract(self, reader: Reader) -> Requirement:
        check(reader, EXTRACT_TABLE)
        header = header_name(reader, "verification_status_header") or _STATUS_HEADER
        return AllowFailed(self._of_all(), header)

    def _provider(self, reader: Reader) -> Provider:
        name = reader.string("provider_name")
        found = self.providers.by_name.get(name)
        if found is None:
            raise reader.error_at(
                "provider_name", f"Required provider ['{name}'] is not configured."
            )
        return found

    def _of(self, provider: Provider, audiences: Audiences | None) -> Authenticator:
        return Authenticator(
            make_extractor((provider.places,)),
            provider,
            self.providers,
            audiences,
            goes_on=False,
            rules=self.rules,
            cache=TokenCache(provider.cache_size, provider.cache_max_token),
        )

    def _of_all(self) -> Authenticator:
        providers = tuple(self.providers.by_name.values())
        return Authenticator(
            make_extractor([provider.places for provider in providers]),
            None,
            self.providers,
            None,
            goes_on=True,
            rules=self.rules,
            cache=TokenCache(
                max((p.cache_size for p in providers), default=0),
                max((p.cache_max_token for p in providers), default=0),
            ),
        )


def parse_map(reader: Reader, field: str, parser: RequirementParser) -> Mapping[str, Requirement]:
    """Requirements by name."""
    return {name: parser.parse(item) for name, item in reader.entries(field)}
