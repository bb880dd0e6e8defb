"""The routes of one virtual host, so that a long list costs no scan. The first match wins."""

from collections.abc import Iterable

from meshsdk.call.context import CallContext
from meshsdk.call.message import Request
from meshsdk.resources.route import Route

_FEW = 12
"""Up to here looking at each route is faster than looking them up."""
_LITERAL = ("prefix", "path_separated_prefix")


class RouteIndex:
    """Routes by what their path must be or begin with; those that say neither are always asked."""

    __slots__ = ("_exact", "_others", "_prefixes", "_routes")

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self._routes = routes
        self._others: list[int] = []
        self._exact: dict[str, list[int]] = {}
        prefixes: dict[int, dict[str, list[int]]] = {}
        for i, route in enumerate(routes):
            match = route.match
            if match.case_sensitive and match.kind == "path":
                self._exact.setdefault(match.text, []).append(i)
            elif match.case_sensitive and match.kind in _LITERAL:
                length = len(match.text)
                prefixes.setdefault(length, {}).setdefault(match.text, []).append(i)
            else:
                self._others.append(i)
        self._prefixes = tuple(prefixes.items())

    def find(self, request: Request, path: str, context: CallContext, draw: int) -> Route | None:
        """The first route that takes a request; `path` is without query."""
        routes = self._routes
        if len(routes) <= _FEW:
            for route in routes:
                if route.match.matches(request, path, context, draw):
                    return route
            return None
        for i in self._candidates(path):
            if routes[i].match.matches(request, path, context, draw):
                return routes[i]
        return None

    def _candidates(self, path: str) -> Iterable[int]:
        found = [self._others] if self._others else []
        exact = self._exact.get(path)
        if exact is not None:
            found.append(exact)
        for length, by_text in self._prefixes:
            if length <= len(path):
                literal = by_text.get(path[:length])
                if literal is not None:
                    found.append(literal)
        if len(found) == 1:
            return found[0]
        return sorted(i for indexes in found for i in indexes)
