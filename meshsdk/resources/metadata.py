"""envoy.config.core.v3.Metadata as routes carry it."""

from collections.abc import Mapping
from typing import Final, TypeAlias, cast

from meshsdk.call.endpoint import NO_METADATA
from meshsdk.config.reader import Reader

Metadata: TypeAlias = Mapping[str, Mapping[str, object]]
Criteria: TypeAlias = Mapping[str, object]
_SUBSETS: Final = "envoy.lb"


def parse_metadata(reader: Reader | None) -> Metadata:
    """filter_metadata by namespace."""
    if reader is None:
        return NO_METADATA
    return {
        name: cast("Mapping[str, object]", fields)
        for name, fields in reader.struct("filter_metadata").items()
        if isinstance(fields, Mapping)
    }


def parse_criteria(reader: Reader | None) -> Criteria | None:
    """The `envoy.lb` part of a metadata_match: which subset of hosts is asked for."""
    return None if reader is None else parse_metadata(reader).get(_SUBSETS)
