"""
tests/sim/test_sim.py - runs the simulator (tests/sim/*.c) for the test run's time, by `tests/run sim`.

The seed is the clock's, printed, and set by EVERWARD_SEED; under CI it is always the same, so that what a landing finds is the landing's own. A failure prints a schedule made short and how to replay it.
"""
import os
import re
import subprocess
import time
import unittest

BUILD = os.environ.get("EVERWARD_BUILD", os.path.join(os.path.dirname(__file__), "..", "..", "build", "dev"))
JOBS = str(min(os.cpu_count() or 2, 16))


def simulate(program, *options, timeout=500):
    p = subprocess.run([os.path.join(BUILD, "sim", program), *options], stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, timeout=timeout)
    print(p.stdout, flush=True)
    return p


class Sim(unittest.TestCase):
    seed = os.environ.get("EVERWARD_SEED", "20261123" if os.environ.get("CI") == "true" else str(int(time.time())))

    def many(self, program, schedules):
        p = simulate(program, "--seed", self.seed, "--schedules", str(schedules), "--jobs", JOBS)
        self.assertEqual(p.returncode, 0, p.stdout[-4000:])
        self.assertIn(f"schedules={schedules} ", p.stdout)

    def test_no_promise_breaks_in_40000_schedules_of_faults(self):
        self.many("sim", 40000)

    def test_no_promise_breaks_in_3000_schedules_under_sanitizers(self):
        self.many("sim_checked", 3000)

    def test_no_promise_breaks_in_120_schedules_over_the_real_store(self):
        self.many("sim_store", 120)

    def found(self, program, at_least):
        p = simulate(program, "--mutants", "--seed", "1", "--jobs", JOBS)
        bugs = re.findall(r"^(ok|not ok) \d+ - (\S+)", p.stdout, re.M)
        self.assertGreaterEqual(len(bugs), at_least)
        self.assertEqual([name for word, name in bugs if word != "ok"], [], p.stdout)
        self.assertEqual(p.returncode, 0)

    def test_each_deliberate_bug_is_found_within_2000_schedules(self):
        self.found("sim_mutants", 70)

    def test_each_deliberate_bug_of_the_real_store_is_found_within_300_schedules(self):
        self.found("sim_store_mutants", 12)

    def test_the_same_seed_gives_the_same_run(self):
        one, two = (simulate("sim", "--seed", "7", "--schedules", "50").stdout for _ in range(2))
        self.assertEqual(one, two)


if __name__ == "__main__":
    unittest.main()
