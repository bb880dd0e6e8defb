"""What came of a number of calls, as a client process tells it to the parent."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Self, cast


@dataclass(frozen=True, slots=True)
class Calls:
    """How often each value was seen. A call that failed has its exception's name as status."""

    status: Mapping[str, int]
    text: Mapping[str, int]
    """Bodies of answers that are not 200, messages of exceptions."""
    version: Mapping[str, int]
    caller: Mapping[str, int]
    """The client's SPIFFE ID, as the server saw it."""
    server: Mapping[str, int]
    """The server's SPIFFE ID, as the client saw it."""
    certificate: Mapping[str, int]
    """The serial number of the server's certificate."""
    attempts: Mapping[str, int]
    ejected: tuple[str, ...]
    """Addresses that outlier detection has taken out, since the process began."""
    pid: int

    @classmethod
    def of(cls, answers: Sequence[Mapping[str, str]], ejected: Iterable[str], pid: int) -> Self:
        """Count; an answer has some of the fields."""

        def counted(field: str) -> Mapping[str, int]:
            return dict(Counter(answer[field] for answer in answers if field in answer))

        return cls(
            counted("status"),
            counted("text"),
            counted("version"),
            counted("caller"),
            counted("server"),
            counted("certificate"),
            counted("attempts"),
            tuple(ejected),
            pid,
        )

    def to_json(self) -> dict[str, object]:
        """For the pipe."""
        return asdict(self)

    @classmethod
    def from_json(cls, message: Mapping[str, object]) -> Self:
        """From the pipe, whose other end is `to_json`."""

        def counted(field: str) -> Mapping[str, int]:
            return cast("Mapping[str, int]", message[field])

        return cls(
            counted("status"),
            counted("text"),
            counted("version"),
            counted("caller"),
            counted("server"),
            counted("certificate"),
            counted("attempts"),
            tuple(cast("list[str]", message["ejected"])),
            cast("int", message["pid"]),
        )

    @property
    def retried(self) -> int:
        """Calls that took more than one attempt."""
        return sum(count for attempts, count in self.attempts.items() if attempts != "1")

    def all_answered(self, calls: int) -> bool:
        """Whether that many calls were made, and each was answered 200."""
        return self.status == {"200": calls}
