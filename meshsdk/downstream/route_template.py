"""The framework's route template of a request, before the framework runs: `/users/{id}`."""

from collections.abc import Callable, Iterable
from typing import TypeAlias, cast

from meshsdk.downstream.asgi_scope import Scope

RouteOf: TypeAlias = Callable[[Scope], str]
"""The template of the route that an application would take; empty: it cannot be told."""


def starlette_route(app: object) -> RouteOf:
    """For Starlette and FastAPI: what the application's router would match, mounts included."""

    def template(scope: Scope) -> str:
        return _found(cast("Iterable[object]", getattr(app, "routes", ())), dict(scope))

    return template


def _found(routes: Iterable[object], scope: Scope) -> str:
    for route in routes:
        matches = cast("Callable[[Scope], tuple[object, Scope]]", getattr(route, "matches", None))
        if not callable(matches):
            continue
        match, child = matches(scope)
        if getattr(match, "name", "") != "FULL":
            continue
        path = str(getattr(route, "path", ""))
        below = cast("Iterable[object]", getattr(route, "routes", None) or ())
        if not below:
            return path
        inner = _found(below, {**scope, **child})
        return f"{path}{inner}" if inner else ""
    return ""
