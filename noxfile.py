"""The commands that the build server runs, each by name: `nox -s lint`."""

import nox

nox.options.sessions = ["tests", "lint", "types"]
nox.options.reuse_existing_virtualenvs = True


@nox.session(python=["3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """The README's test command."""
    session.install("-e", ".[dev]")
    session.run("pytest", "-q", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Layout, lint and the import rules of the house."""
    session.install("-e", ".[dev]")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """Both type checkers, strict."""
    session.install("-e", ".[dev]")
    session.run("mypy")
    session.run("pyright")


@nox.session
def e2e(session: nox.Session) -> None:
    """Real processes and a real Envoy on loopback."""
    session.install("-e", ".[dev]")
    session.run("pytest", "-q", "-m", "e2e", "tests/e2e", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Ratios against a baseline in the same run."""
    session.install("-e", ".[dev]")
    session.run("pytest", "-q", "-s", "-m", "bench", "tests/bench", *session.posargs)
