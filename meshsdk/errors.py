"""The exception tree; `identity.PeerRefusedError` is a PeerError that says why. The type says whose fault it was.

MeshError
├── ConfigError      the control plane, a file or a dict: names the field and what was expected
│   └── UnknownExtensionError   an extension that no code takes
├── IdentityError    our own credentials: missing, expired, unreadable
├── PeerError        the other side: its certificate or its protocol
├── SpiffeIdError    a text that is no SPIFFE ID; who read it knows whose fault that is
├── UsageError       the caller of this library
├── ForbiddenError   a guard in the application's code: the request's caller may not
├── NotReadyError    a first call waited for configuration until its deadline
└── AttemptError     an attempt brought no response: what an application's retry strategy is shown
    └── AttemptTimeoutError
"""


class MeshError(Exception):
    """Base of every error that meshsdk raises on purpose."""


class ConfigError(MeshError):
    """Configuration that the mesh cannot honour. On a control-plane stream it becomes a NACK.

    `path` is the field path (`route_configuration.virtual_hosts[2].routes[0].match`), `problem`
    says what was expected and what was found.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self.path = path
        self.problem = problem


class UnknownExtensionError(ConfigError):
    """A typed config whose type URL no registry knows."""

    def __init__(self, path: str, problem: str, type_url: str) -> None:
        super().__init__(path, problem)
        self.type_url = type_url


class IdentityError(MeshError):
    """Our own SVID, key or bundle is missing, expired or unreadable."""


class PeerError(MeshError):
    """The peer is not whom policy allows. `expected` and `found` are for people."""

    def __init__(self, problem: str, *, expected: str = "", found: str = "") -> None:
        detail = ", ".join(
            part
            for part in (
                f"expected {expected}" if expected else "",
                f"found {found}" if found else "",
            )
            if part
        )
        super().__init__(f"{problem}: {detail}" if detail else problem)
        self.problem = problem
        self.expected = expected
        self.found = found


class SpiffeIdError(MeshError, ValueError):
    """A text that is not a SPIFFE ID: configuration and peers turn it into their own error."""


class UsageError(MeshError):
    """The library was called in a way that it does not support."""


class ForbiddenError(MeshError):
    """A guard (`meshsdk.require`) said no. The caller of the request is answered 403."""


class NotReadyError(MeshError):
    """Configuration that a call needs did not arrive before the call's deadline."""

    def __init__(self, waited_for: str, seconds: float, reason: str = "") -> None:
        told = f"waited {seconds:.3g} s for {waited_for}, which has not arrived"
        super().__init__(f"{told}: {reason}" if reason else told)
        self.waited_for = waited_for
        self.seconds = seconds


class AttemptError(MeshError, ConnectionError):
    """An attempt brought no response. `reason` in Envoy's words (`connection termination`)."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class AttemptTimeoutError(AttemptError, TimeoutError):
    """An attempt ran out of its own time."""
