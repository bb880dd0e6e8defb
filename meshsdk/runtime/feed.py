"""Where plans come from."""

from typing import Protocol


class Feed(Protocol):
    """Keeps the publisher's plan fresh between `start` and `close`."""

    @property
    def on_demand(self) -> bool:
        """Whether listeners are subscribed by name when a call asks for them."""
        ...

    def start(self) -> None:
        """Begin; may start threads, must not block on a network."""
        ...

    def close(self) -> None:
        """End, promptly; the plan in force stays."""
        ...

    def pause(self) -> None:
        """End threads for a while, within a second or so; the plan in force stays."""
        ...

    def resume(self) -> None:
        """Go on after `pause`."""
        ...

    def want(self, listener: str) -> None:
        """A call waits for this listener; any thread, any number of times."""
        ...
