"""Key sets of `jwksUri`, fetched as istiod does: in the background, again every 20 minutes."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
    """Is a `FetchedJwks`. `on_news` is called on its thread when a key set has come or changed."""

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
        """End the thread, which may still wait for a server; it is a daemon."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def _start(self) -> None:
        if self._thread is None and not self._stopped:
            self._thread = threading.Thread(target=self._run, name="meshsdk-key-sets", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while (due := self._wait()) is not None:
            news = [found for found in due if self._fetch(found)]
            if news:
                self._on_news()

    def _wait(self) -> list[_Fetched] | None:
        """Block until some are due; None at the end."""
        with self._changed:
            while not self._stopped:
                now = self._clock.monotonic()
                due = [found for found in self._known.values() if found.again <= now]
                if due:
                    return due
                soonest = min(found.again for found in self._known.values())
                self._changed.wait(soonest - now)
        return None

    def _fetch(self, found: _Fetched) -> bool:
        """Whether the key set is another one than before. A failure keeps the one that is known."""
        text = fetch(found.rule)
        after = found.text if text is None else text
        again = self._clock.monotonic() + (_RETRY if text is None else _REFRESH)
        with self._changed:
            self._known[found.rule.jwks_uri, found.rule.issuer] = _Fetched(found.rule, after, again)
        return after != found.text
