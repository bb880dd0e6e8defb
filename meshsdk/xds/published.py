"""The values of the newest snapshot, by type and name; types without a change are shared."""

from collections.abc import Mapping

from meshsdk.resources.snapshot import Bad, Missing


class Published:
    """Values by name, copied only when they changed."""

    def __init__(self) -> None:
        self._values: dict[str, dict[str, object]] = {}
        self._copies: dict[str, Mapping[str, object]] = {}
        self.is_changed = False

    def put(self, type_url: str, name: str, value: object) -> None:
        """Set a value; None takes the name out."""
        values = self._values.setdefault(type_url, {})
        before = values.get(name)
        if before is value:
            return
        if isinstance(value, Bad | Missing) and before == value:
            return
        if value is None:
            del values[name]
        else:
            values[name] = value
        self._copies.pop(type_url, None)
        self.is_changed = True

    def copy(self, type_url: str) -> Mapping[str, object]:
        """The values of a type as they are now; the same object while nothing changes."""
        found = self._copies.get(type_url)
        if found is None:
            found = self._copies[type_url] = dict(self._values.get(type_url, {}))
        return found
