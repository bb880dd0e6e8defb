"""The checks of `.ci/run` by name, and the lowest versions: `nox -s lint`, `nox -s floors`."""

import nox

nox.options.sessions = ["tests", "lint", "types"]
nox.options.reuse_existing_virtualenvs = True


@nox.session(python=["3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """The README's test command."""
    session.install("-e", ".[dev]")
    session.run("pytest", "-q", *session.posargs)


@nox.session(python="3.11")
def floors(session: nox.Session) -> None:
    """The tests on the lowest versions of what the library depends on."""
    project = nox.project.load_toml("pyproject.toml")["project"]
    lowest = [each.split(",")[0].replace(">=", "==") for each in project["dependencies"]]
    session.install("-e", ".[dev]", *lowest)
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
    session.run("pyright", "--pythonpath", f"{session.virtualenv.location}/bin/python")


@nox.session
def e2e(session: nox.Session) -> None:
    """Real processes and a real Envoy on loopback."""
    session.install("-e", ".[dev]")
    session.run("pytest", "-q", "-m", "e2e", "tests/e2e", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Ratios against a baseline in the same run."""
    session.install("-e", ".[dev]")
    session.run("pytest", "-q", "-n", "0", "-s", "-m", "bench", "tests/bench", *session.posargs)
