"""Why a process does not start."""

from __future__ import annotations


class StartError(Exception):
    """The configuration cannot be put in force. Each problem is one line for the operator."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
