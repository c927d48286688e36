"""What can go wrong, and what may not be done: errors for users and refusals for reports."""

from __future__ import annotations

from dataclasses import dataclass


class NepentheError(Exception):
    """A user-facing failure: one line that says what, where, and how to mend it.

    `exit_code` is what the command line returns (DESIGN.md, command line).
    """

    exit_code = 1


class UnreadableError(NepentheError):
    """A model or data that cannot be read (exit code 1)."""

    exit_code = 1


class UnsupportedError(NepentheError):
    """A readable model that this tool or this machine cannot handle (exit code 1)."""

    exit_code = 1


class UsageError(NepentheError):
    """Options that contradict each other or name nothing known (exit code 2)."""

    exit_code = 2


class VerificationError(NepentheError):
    """A result that failed verification or its budget; nothing was written (exit code 3)."""

    exit_code = 3


@dataclass(frozen=True)
class Refused:
    """Why something was left as it is; a value, not an exception.

    Attributes:
        reason: one line for the report, in the reader's terms.
        lift: what the user could do about it ("" when nothing).
    """

    reason: str
    lift: str = ""
