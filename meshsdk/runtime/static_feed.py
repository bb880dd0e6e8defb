"""Configuration without a control plane: parsed whole, in force from the start."""

from collections.abc import Mapping

from meshsdk.config.extension import Extensions
from meshsdk.flow.cluster_plan import LiveState
from meshsdk.flow.plan import compile_plan
from meshsdk.runtime.publisher import Publisher
from meshsdk.telemetry import ConfigReported, PlanPublished
from meshsdk.wire.bootstrap_form import static_resources
from meshsdk.xds.static import reports, static_snapshot


class StaticFeed:
    """Publishes one plan. ConfigError at once when the configuration is not understood."""

    on_demand = False

    def __init__(
        self,
        config: Mapping[str, object],
        origin: str,
        extensions: Extensions,
        publisher: Publisher,
        live: LiveState,
    ) -> None:
        snapshot = static_snapshot(static_resources(config, origin), extensions)
        self._plan = compile_plan(snapshot, extensions, live)
        self._publisher = publisher
        self._live = live

    def start(self) -> None:
        """Put the plan in force."""
        snapshot = self._plan.snapshot
        for resource, path, why in reports(snapshot):
            self._live.emit(ConfigReported(resource, path, why))
        self._publisher.publish(self._plan)
        counts = len(snapshot.listeners), len(snapshot.clusters)
        self._live.emit(PlanPublished(self._plan.version, *counts, 0.0))

    def close(self) -> None:
        """Nothing runs."""

    def pause(self) -> None:
        """Nothing runs."""

    def resume(self) -> None:
        """Nothing was paused."""

    def want(self, listener: str) -> None:
        """Everything is here already."""
