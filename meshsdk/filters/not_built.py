"""What stands for configuration that is accepted although its code does not exist yet."""

from dataclasses import dataclass

from meshsdk.call.context import CallContext
from meshsdk.call.filter import Continue, Verdict
from meshsdk.call.message import LocalReply, Request


@dataclass(frozen=True, slots=True)
class NotBuilt:
    """Fails every call that meets it, by name."""

    name: str

    def on_request(self, request: Request, context: CallContext) -> Verdict:
        """500: the configured behaviour is not there."""
        del request, context
        return LocalReply(500, details=f"meshsdk_not_built{{{self.name}}}")


@dataclass(frozen=True, slots=True)
class Inert:
    """A filter whose own config has no effect; a route may override it with one that has."""

    def on_request(self, request: Request, context: CallContext) -> Verdict:
        """Nothing to do."""
        del context
        return Continue(request)


INERT = Inert()
