from meshsdk.clock import SystemClock
from meshsdk.identity import SourceState, StaticSource
from meshsdk.testing.ca import FakeCa


class HandClock(SystemClock):
    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = SystemClock.time()

    def time(self) -> float:
        return self.now


def test_a_static_identity_is_fresh_until_it_expires() -> None:
    clock, context = HandClock(), FakeCa().context("shop/a", ttl=600.0)
    source = StaticSource(context, clock)

    assert source.poll().state is SourceState.FRESH
    clock.now += 601
    assert source.poll().state is SourceState.EXPIRED
    assert source.poll().context is context
