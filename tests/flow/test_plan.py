"""One plan after another, while calls go on in the older one."""

from collections.abc import Callable

from meshsdk.testing.clock import FakeClock
from tests.flow.plans import Mesh, config


class Interrupted(FakeClock):
    """A clock whose reader is interrupted by a call on another thread."""

    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    def monotonic(self) -> float:
        self.meanwhile()
        return super().monotonic()


def test_calls_may_meet_new_clusters_while_the_next_plan_takes_over() -> None:
    guarded = "outlier_detection: {consecutive_5xx: 5}"
    mesh = Mesh(config("{cluster: c}"))
    mesh.live.clock = clock = Interrupted()
    before = mesh.plan
    assert before is not None
    found = before.cluster("c")
    assert found is not None
    # As a call on another thread does it, between two clusters that are taken over.
    known = before._clusters  # pyright: ignore[reportPrivateUsage]
    clock.meanwhile = lambda: known.setdefault("d", found)

    mesh.push(config("{cluster: c}", more=guarded))

    assert "d" in known
    assert mesh.plan is not before
