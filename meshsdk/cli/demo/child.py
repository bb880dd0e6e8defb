"""A process of the demo, from the parent's side."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from meshsdk.cli.demo.calls import Calls
from meshsdk.errors import MeshError

_PATIENCE: Final = 30.0  # seconds for an answer: a busy machine starts Python slowly


class ChildError(MeshError):
    """A process of the demo died, or did not answer."""


class Child:
    """A running child. Its errors go to a log file."""

    def __init__(self, name: str, process: Process, log: Path) -> None:
        self.name = name
        self.process = process
        self._log = log

    @classmethod
    async def start(cls, module: str, message: Mapping[str, str], directory: Path) -> "Child":
        """Run a module; `message["name"]` is the child's name."""
        name = message["name"]
        log = directory / f"{name}.log"
        with log.open("wb") as errors:
            command = (sys.executable, "-m", module)
            process = await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=PIPE, stderr=errors
            )
        child = cls(name, process, log)
        await child.send(message)
        return child

    async def send(self, message: Mapping[str, object]) -> None:
        """Send one message."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        try:
            await self.process.stdin.drain()
        except ConnectionError:
            raise self._error("ended") from None

    async def receive(self) -> Mapping[str, object]:
        """Its next message."""
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(_PATIENCE):
                line = await self.process.stdout.readline()
        except TimeoutError:
            raise self._error(f"did not answer within {_PATIENCE:.0f} s") from None
        if not line:
            raise self._error("ended")
        message: Mapping[str, object] = json.loads(line)
        return message

    async def call(
        self,
        url: str,
        calls: int = 1,
        *,
        method: str = "GET",
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> Calls:
        """Have it make calls; what came of them."""
        await self.send({"calls": calls, "url": url, "method": method, "headers": dict(headers)})
        return Calls.from_json(await self.receive())

    async def seen(self) -> Mapping[str, object]:
        """What its mesh has told it: `denials` and the number of `identities`."""
        await self.send({"seen": True})
        return await self.receive()

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self.process.returncode is None

    async def kill(self) -> None:
        """End it as a crash would."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    def _error(self, problem: str) -> ChildError:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        why = "".join(f"\n    {line}" for line in lines[-15:])
        return ChildError(f"the process {self.name} {problem}{why}")
