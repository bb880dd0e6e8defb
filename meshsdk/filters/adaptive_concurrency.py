"""envoy.filters.http.adaptive_concurrency: as many calls at once as keep latency what it was.

Source: Envoy, AdaptiveConcurrencyFilter. The limit is worked out in `gradient_controller`.
"""

from dataclasses import dataclass
from typing import Final

from meshsdk.call.context import CallContext
from meshsdk.call.filter import Continue, HttpFilter, Verdict
from meshsdk.call.message import BodyEnd, LocalReply, Request
from meshsdk.config.extension import Extensions, HttpFilterExtension
from meshsdk.config.fields import MessageTable, check, honoured
from meshsdk.config.reader import Reader
from meshsdk.filters import gradient_controller
from meshsdk.filters.gradient_controller import GradientController, parse_gradient
from meshsdk.filters.not_built import INERT, NotBuilt
from meshsdk.filters.runtime_values import runtime_flag
from meshsdk.filters.status_code import parse_status

TABLE: Final = MessageTable(
    "envoy.extensions.filters.http.adaptive_concurrency.v3.AdaptiveConcurrency",
    honoured("gradient_controller_config", "enabled", "concurrency_limit_exceeded_status"),
)
TABLES: Final = (TABLE, *gradient_controller.TABLES)
_UNAVAILABLE: Final = 503


@dataclass(frozen=True, slots=True)
class AdaptiveConcurrency:
    """The controller is shared by all calls of the process that meet this config."""

    controller: GradientController
    reply: LocalReply

    def on_request(self, request: Request, context: CallContext) -> Verdict:
        """Let pass and measure, or refuse."""
        started = context.clock.monotonic()
        if not self.controller.admit(started, context.random):
            return self.reply

        def over(end: BodyEnd | None) -> None:
            if end is None or end.reset is not None:
                self.controller.cancel()
            else:
                self.controller.record(started, context.clock.monotonic(), context.random)

        context.at_end.append(over)
        return Continue(request)


def parse(reader: Reader, extensions: Extensions) -> HttpFilter:
    """The filter of an AdaptiveConcurrency."""
    check(reader, TABLE)
    config, missing = parse_gradient(reader.required_message("gradient_controller_config"))
    if missing:
        return NotBuilt(missing[0])
    if not runtime_flag(reader, "enabled", extensions.runtime, default=True):
        return INERT
    status = parse_status(reader, "concurrency_limit_exceeded_status", _UNAVAILABLE)
    controller = extensions.filter_states.keep(
        GradientController, reader.identity, lambda: GradientController(config)
    )
    return AdaptiveConcurrency(
        controller,
        LocalReply(status, b"reached concurrency limit", details="reached_concurrency_limit"),
    )


EXTENSION: Final = HttpFilterExtension(
    name="envoy.filters.http.adaptive_concurrency",
    type_urls=(
        "type.googleapis.com/envoy.extensions.filters.http.adaptive_concurrency.v3.AdaptiveConcurrency",
    ),
    parse=parse,
)
