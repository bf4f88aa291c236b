"""The account of who took the machine's cores."""

import os
import subprocess
import sys
import time

import pytest

from benchmarks.hostile_load.accounting import ELSEWHERE, NOBODY, OTHERS, Account, Spent

BUSY = "while True: pass"


def test_what_a_process_takes_is_in_the_account_and_what_it_took_before_is_not() -> None:
    busy = subprocess.Popen([sys.executable, "-c", BUSY])

    def taken(account: Account) -> float:
        return sum(spent.seconds for spent in account.processes.values())

    try:
        groups = {"stranger": busy.pid, "gone": 2**22 + 1}
        while not taken(before := Account.now(groups)):
            time.sleep(0.01)
        while not taken(after := Account.now(groups)) > taken(before):
            time.sleep(0.01)
    finally:
        busy.kill()
        busy.wait()
    passed = after.since(before)
    assert all(name.startswith("stranger: ") for name in passed.processes)
    assert taken(passed) == pytest.approx(taken(after) - taken(before))
    assert set(passed.machine) == {OTHERS, NOBODY, ELSEWHERE}


def test_waits_are_counted_for_each_turn_of_a_thread() -> None:
    before = Account({"Ingress": Spent(1.0, 0.5, 10)}, {NOBODY: 4.0})
    after = Account({"Ingress": Spent(1.5, 0.7, 60), "new": Spent(0.1, 0.0, 0)}, {NOBODY: 6.0})
    passed = after.since(before)
    assert passed.processes["Ingress"].wait_ms == pytest.approx(4.0)
    assert passed.processes["new"] == Spent(0.1, 0.0, 0)
    assert passed.processes["new"].wait_ms == 0.0
    assert passed.machine == {NOBODY: 2.0}


def test_a_thread_that_waits_for_a_core_is_seen() -> None:
    pid = os.getpid()
    assert next(iter(Account.now({"": pid}).processes.values())).turns > 0
