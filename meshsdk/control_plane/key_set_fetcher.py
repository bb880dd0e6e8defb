"""Key sets of `jwksUri`, fetched as istiod does: in the background, again every 20 minutes."""

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from meshsdk.clock import Clock
from meshsdk.control_plane.istio.request_authentication import JwtRule
from meshsdk.control_plane.key_sets import fetch

_REFRESH: Final = 20 * 60.0
_RETRY: Final = 10.0


@dataclass(frozen=True, slots=True)
class _Fetched:
    rule: JwtRule
    text: str | None
    again: float


class KeySetFetcher:
    """Is a `FetchedJwks`. `on_news` is called on a thread of its own when a key set has come or changed."""

    def __init__(self, given: Mapping[str, str], clock: Clock, on_news: Callable[[], None]) -> None:
        """`given`: URI to the key set itself, in place of a fetch."""
        self._given = given
        self._clock = clock
        self._on_news = on_news
        self._known: dict[tuple[str, str], _Fetched] = {}
        self._changed = threading.Condition()
        self._stopped = False
        self._thread: threading.Thread | None = None

    def __call__(self, rule: JwtRule) -> str | None:
        """The key set of a rule; None: not yet, or it failed. Does not block."""
        if rule.jwks_uri in self._given:
            return self._given[rule.jwks_uri]
        key = rule.jwks_uri, rule.issuer
        with self._changed:
            found = self._known.get(key)
            if found is None:
                self._known[key] = _Fetched(rule, None, self._clock.monotonic())
                self._start()
                self._changed.notify()
                return None
            return found.text

    def stop(self) -> None:
        """End the thread; those that still wait for a server are daemons."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def _start(self) -> None:
        if self._thread is None and not self._stopped:
            self._thread = threading.Thread(target=self._run, name="meshsdk-key-sets", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while (due := self._wait()) is not None:
            for found in due:
                # Each on a thread: a server that drips must not keep the others' news from us.
                threading.Thread(
                    target=self._fetch, args=(found,), name="meshsdk-key-set", daemon=True
                ).start()

    def _wait(self) -> list[_Fetched] | None:
        """Block until some are due, which then are not for as long as they are fetched; None at
        the end."""
        with self._changed:
            while not self._stopped:
                now = self._clock.monotonic()
                due = [found for found in self._known.values() if found.again <= now]
                for found in due:
                    self._known[found.rule.jwks_uri, found.rule.issuer] = replace(
                        found, again=math.inf
                    )
                if due:
                    return due
                soonest = min(found.again for found in self._known.values())
                self._changed.wait(None if soonest == math.inf else soonest - now)
        return None

    def _fetch(self, found: _Fetched) -> None:
        """A failure keeps the key set that is known."""
        text = fetch(found.rule)
        after = found.text if text is None else text
        again = self._clock.monotonic() + (_RETRY if text is None else _REFRESH)
        with self._changed:
            self._known[found.rule.jwks_uri, found.rule.issuer] = _Fetched(found.rule, after, again)
            self._changed.notify()
        if after != found.text:
            self._on_news()
