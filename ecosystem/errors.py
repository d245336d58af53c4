"""What can go wrong, each with its exit code. A message says what, where and the remedy, on one screen.

Codes from 64 up follow sysexits(3), so that a shell can tell them apart; 0, 1 and 2 belong to ``--check``
(claims held, refuted, undecided).
"""

from __future__ import annotations


class EcosystemError(Exception):
    """Base of the errors a user can meet; ``str(error)`` is the whole message."""

    exit_code = 70


class ScenarioError(EcosystemError):
    """A scenario, model card, override or argument is wrong. Nothing has been written."""

    exit_code = 64


class DataError(EcosystemError):
    """Human data are missing, cannot be read or are too few."""

    exit_code = 66


class AssumptionError(EcosystemError):
    """A closed form was asked for outside of what it assumes; the message names the assumption."""

    exit_code = 65


class RecordError(EcosystemError):
    """A run directory cannot be written, or what stands in it cannot be read."""

    exit_code = 74


class TrainingError(EcosystemError):
    """A provider's training cannot go on: an empty data set, a non-finite loss."""

    exit_code = 70


class Interrupted(EcosystemError):
    """The user stopped the run (Ctrl-C, SIGTERM); the records up to then are readable."""

    exit_code = 130
