"""Pool: one suite over the standard library, a cluster of one host, and three hosts."""

from __future__ import annotations

import pathlib

import pytest
from helpers import RunScript

SCRIPTS = {
    name: pathlib.Path(__file__).with_name(f"{name}_script.py").read_text(encoding="utf-8")
    for name in ("pool", "deaths", "large")
}
EVERYWHERE = [
    "map", "starmap", "apply", "imap", "iterable_raises", "callbacks", "initializer",
    "maxtasksperchild", "close_and_join", "used_by_others",
]  # fmt: skip
ON_THREE_HOSTS = {
    # The standard library's hangs in some of these, leaves its children or has no word for it.
    "pool": [
        *EVERYWHERE, "imap_is_lazy", "errors", "exception_that_cannot_be_rebuilt",
        "initializer_raises", "terminate", "nested", "close_before_the_last_answers",
        "batches_fail_alone", "pool_in_a_pool", "buffersize", "progress", "places",
        "tasks_that_wait_for_each_other",
    ],
    "deaths": [
        "worker_killed", "worker_killed_in_map", "worker_stopped", "idle_worker_stopped",
        "terminate_with_a_stopped_worker", "no_task_is_run_twice",
    ],
    "large": [
        "a_large_function_crosses_once", "a_large_argument_crosses_once",
        "a_large_argument_of_calls_crosses_once", "large_initargs_cross_once",
        "a_job_with_large_arguments_survives_its_workers",
    ],
}  # fmt: skip


def run(run_script: RunScript, script: str, case: str, local: int | None) -> None:
    result = run_script(SCRIPTS[script], local=local, args=[case], env={"DSMPROC_PLACE": "remote"})
    assert result.check().lines()[-1] == "right"


@pytest.mark.parametrize("case", EVERYWHERE)
@pytest.mark.parametrize("local", [None, 1], ids=["standard", "one-host"])
def test_here(run_script: RunScript, case: str, local: int | None) -> None:
    run(run_script, "pool", case, local)


@pytest.mark.parametrize(
    ("script", "case"),
    [(script, case) for script, cases in ON_THREE_HOSTS.items() for case in cases],
)
def test_on_three_hosts(run_script: RunScript, script: str, case: str) -> None:
    run(run_script, script, case, 3)


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_case_is_run(script: str) -> None:
    lines = SCRIPTS[script].splitlines()
    cases = [line[9:].split("(")[0] for line in lines if line.startswith("def case_")]
    assert sorted(cases) == sorted(ON_THREE_HOSTS[script])
