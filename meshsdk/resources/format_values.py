"""What a substitution format can speak of, and how its commands are made."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from meshsdk.call.context import CallContext
from meshsdk.call.endpoint import NO_METADATA
from meshsdk.call.message import Request, Response
from meshsdk.errors import ConfigError
from meshsdk.telemetry.seen_call import SeenCall

Metadata: TypeAlias = Mapping[str, Mapping[str, object]]


@dataclass(slots=True)
class Values:
    """What a format can speak of."""

    context: CallContext
    request: Request
    response: Response | None = None
    route_metadata: Metadata = field(default_factory=lambda: NO_METADATA)
    virtual_host_metadata: Metadata = field(default_factory=lambda: NO_METADATA)
    local_reply_body: str = ""
    has_code: bool = True
    """False while headers of a local reply are made: Envoy has not noted its code then."""
    call: SeenCall | None = None
    """Once it is over: for access logs."""


Command: TypeAlias = Callable[[Values], str | None]
"""None: there is no such value in this call."""
Build: TypeAlias = Callable[[str | None, str], Command]
"""From the command's argument and the path for errors."""


def plain(read: Command) -> Build:
    """A command without an argument."""

    def build(argument: str | None, path: str) -> Command:
        if argument is not None:
            raise ConfigError(path, f"expected a command without argument, found ({argument})")
        return read

    return build


def needed(argument: str | None, path: str) -> str:
    """The argument of a command that has no meaning without one."""
    if not argument:
        raise ConfigError(path, "expected a command with an argument, found none")
    return argument
