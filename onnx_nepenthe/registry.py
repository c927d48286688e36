"""Registries: name → entry, filled at import, one entry a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Registry(Generic[T]):
    """An ordered, write-once mapping from names to entries.

    >>> shapes: Registry[str] = Registry("shape")
    >>> shapes.register("square", "quad")("four corners")
    'four corners'
    >>> shapes["quad"], list(shapes)
    ('four corners', ['square', 'quad'])
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, *names: str) -> Callable[[T], T]:
        """Return a decorator that files its argument under every one of `names`.

        Raises:
            ValueError: a name is taken (each name has one owner).
        """

        def file_under(entry: T) -> T:
            for name in names:
                if name in self._entries:
                    raise ValueError(f"{self.kind} {name!r} is registered twice")
                self._entries[name] = entry
            return entry

        return file_under

    def get(self, name: str) -> T | None:
        """The entry called `name`, or None."""
        return self._entries.get(name)

    def __getitem__(self, name: str) -> T:
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
