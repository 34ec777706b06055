"""Random programs against a model of the library (tests/machine.py), in one process and in two."""

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.machine import Model, TwoProcesses

MORE = 20 if os.environ.get("PLUE_TORTURE") == "1" else 1


def profile(examples, steps):
    return settings(
        max_examples=examples * MORE,
        stateful_step_count=steps,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )


@pytest.mark.requirement(
    "P-013", "P-040", "P-043", "P-045", "P-076", "P-080", "P-098", "P-132", "P-133", "P-143", "X-005", "X-008"
)
def test_library_does_what_the_model_does():
    run_state_machine_as_test(Model, settings=profile(12, 40))


@pytest.mark.requirement("P-076", "P-078")
def test_two_processes_know_the_same():
    run_state_machine_as_test(TwoProcesses, settings=profile(6, 40))
