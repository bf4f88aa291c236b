"""Runs schedules, and prints what happened in them.

    python -m tests.simulation FIRST LAST [--stop [--whole]]

`--stop` ends at the first schedule that breaks a rule, and prints it as a test, as small as it gets or whole.
"""

import argparse
import gc
import sys
import time
from collections import Counter

from tests.simulation.schedule import schedule_of
from tests.simulation.shrinking import as_test, shrunk
from tests.simulation.world import run

COLLECT_AFTER = 4
"""Schedules between two collections of garbage, which consists of cycles and is not small."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("first", type=int)
    parser.add_argument("last", type=int, help="one more than the last seed")
    parser.add_argument("--stop", action="store_true", help="end at the first broken rule")
    parser.add_argument("--whole", action="store_true", help="do not shrink its schedule")
    chosen = parser.parse_args()
    gc.collect()
    gc.freeze()  # collections then look at the schedules' own objects only
    gc.disable()
    began, spent = time.monotonic(), time.process_time()
    broken: Counter[str] = Counter()
    happened: Counter[str] = Counter()
    steps = jobs = count = 0
    for seed in range(chosen.first, chosen.last):
        outcome = run(schedule_of(seed))
        happened += outcome.happened
        steps, jobs, count = steps + outcome.steps, jobs + outcome.jobs, count + 1
        if violation := outcome.violation:
            broken[violation.rule] += 1
            print(f"seed {seed}, {violation.at} s: {violation.rule}: {violation.found}", flush=True)
            if chosen.stop:
                break
        if count % COLLECT_AFTER == 0:
            gc.collect()
        if count % 1000 == 0:
            print(f"{count} schedules, {time.process_time() - spent:.0f} s of a core", flush=True)
    thousands = count / 1000
    print(f"{count} schedules, {jobs} accepted jobs, {steps} steps")
    print(f"{(time.process_time() - spent) / thousands:.1f} s of a core for each thousand", end="")
    print(f" ({(time.monotonic() - began) / thousands:.1f} s by the clock)")
    for what, times in sorted(happened.items()):
        print(f"  {times:8d}  {what}")
    if broken and chosen.stop:
        small = schedule_of(seed) if chosen.whole else shrunk(schedule_of(seed))
        violation = run(small).violation
        assert violation is not None
        print(as_test(small, violation.rule, violation.found))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
