"""Copies: the same as the standard library makes, and nothing else."""

import dataclasses

import pytest

from controlplane.domain.attempts import AttemptState
from controlplane.domain.copies import replace
from controlplane.domain.jobs import JobState
from tests import factories


def test_a_copy_is_what_the_standard_library_makes() -> None:
    attempt, job = factories.attempt(), factories.job()

    changed = replace(attempt, state=AttemptState.STARTING, version=7, reason=None)

    assert changed == dataclasses.replace(attempt, state=AttemptState.STARTING, version=7, reason=None)
    assert replace(job, state=JobState.HELD) == dataclasses.replace(job, state=JobState.HELD)
    assert attempt == factories.attempt()


def test_a_copy_is_frozen_too() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        replace(factories.job(), version=7).version = 8  # type: ignore[misc]


def test_a_field_that_is_not_there_is_refused() -> None:
    with pytest.raises(TypeError, match="Job has no field"):
        replace(factories.job(), colour="red")  # type: ignore[call-arg]
