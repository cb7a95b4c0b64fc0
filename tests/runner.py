"""
tests/runner.py - behind tests/run: builds, runs each part, counts, ends with one line.

Every test is a line "ok/not ok/skip part/name"; a program that dies or times out is one failure by its own name. A
skipped test is a failure where CI=true. Each program runs in a session of its own, which is killed when it is over.
"""
import argparse
import concurrent.futures
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, "build", "asan")
CI = os.environ.get("CI") == "true"
JOBS = str(os.cpu_count() or 2)
UNIT_TIMEOUT_S = 240
INTEGRATION_TIMEOUT_S = 600
FUZZ_S = int(os.environ.get("EVERWARD_FUZZ_S", "5"))  # per target
# These measure what a user waits for: nothing runs beside them.
ALONE = {"test_api_node", "test_api_people", "test_gateway", "test_http_hostile", "test_node", "test_oidc", "test_oidc_node", "test_people",
         "test_synthetic"}
# A program too long for one run, by its groups.
GROUPS = {"cryptvfs": ["open", "tamper", "sql", "crash", "power", "wal"]}

counts = {"passed": 0, "failed": 0, "skipped": 0}
failed = []
recording = threading.RLock()


def record(result, name, why=""):
    if result == "skipped" and CI:
        result, why = "failed", f"skipped, which is an error under CI=true: {why}"
    word = {"passed": "ok", "failed": "not ok", "skipped": "skip"}[result]
    with recording:
        counts[result] += 1
        if result == "failed":
            failed.append(f"{name}  {why}".rstrip())
        print(f"{word:7}{name}" + (f"  ({why})" if why else ""), flush=True)


def side_by_side(jobs):
    """Programs that keep one core busy each and share nothing but the machine."""
    with concurrent.futures.ThreadPoolExecutor(int(JOBS)) as pool:
        for job in [pool.submit(*j) for j in jobs]:
            job.result()


def run(command, timeout, env=None, cwd=ROOT):
    """Runs in a session of its own; (exit code or None after the timeout, output)."""
    with tempfile.TemporaryFile() as out:
        p = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                             start_new_session=True, env=env, cwd=cwd)
        try:
            code = p.wait(timeout)
        except subprocess.TimeoutExpired:
            code = None
        try:
            os.killpg(p.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        p.wait()
        out.seek(0)
        return code, out.read().decode(errors="replace")


def must(command, what, timeout=2400):
    started = time.monotonic()
    code, output = run(command, timeout)
    if code != 0:
        print(output[-12000:])
        record("failed", what, f"exit {code}")
        return False
    record("passed", what, f"{time.monotonic() - started:.0f} s")
    return True


def environment():
    env = dict(os.environ)
    env["EVERWARD_BUILD"] = BUILD
    env["EVERWARD_SHARED_DATA"] = env.get("EVERWARD_SHARED_DATA", os.path.join(ROOT, "..", "shared", "data"))
    env["ASAN_OPTIONS"] = "abort_on_error=1:detect_leaks=1:allocator_may_return_null=1"
    env["UBSAN_OPTIONS"] = "print_stacktrace=1"
    env["CMOCKA_MESSAGE_OUTPUT"] = "TAP"
    env["EVERWARD_LONG"] = "1"  # the file beyond 1 GiB, too
    return env


def build_asan():
    return (must(["cmake", "--preset", "asan"], "build/configure") and
            must(["cmake", "--build", "--preset", "asan", "-j", JOBS], "build/gcc with ASan and UBSan"))


def wanted(names, part, test):
    return not names or part in names or f"{part}/{test}" in names


def run_tap(name, command, timeout, env):
    started = time.monotonic()
    code, output = run(command, timeout, env)
    with recording:  # one program's lines stay together
        record_tap(name, code, output)
        print(f"## {name} took {time.monotonic() - started:.0f} s", flush=True)


def record_tap(name, code, output):
    seen = 0
    for line in output.splitlines():
        if m := re.match(r"(?:not )?ok \d+ # SKIP (\S+)", line):  # cmocka's form
            seen += 1
            record("skipped", f"{name}/{m[1]}", "the program says why")
            continue
        if line.startswith("## "):  # a figure or a seed
            print(line, flush=True)
        m = re.match(r"(not ok|ok) \d+ - (\S+)(.*)", line)
        if not m:
            continue
        seen += 1
        if m[1] == "not ok":
            record("failed", f"{name}/{m[2]}")
        elif "# SKIP" in m[3]:
            record("skipped", f"{name}/{m[2]}", m[3].split("# SKIP", 1)[1].strip())
        else:
            record("passed", f"{name}/{m[2]}")
    if code != 0 or seen == 0:
        print(output[-6000:])
        why = "timed out" if code is None else f"exit {code}, {seen} results"
        record("failed", name, why)


def part_unit(names):
    folder = os.path.join(BUILD, "tests")
    jobs = []
    for program in sorted(os.listdir(folder)):
        path = os.path.join(folder, program)
        test = program.removeprefix("test_")
        if program.startswith("test_") and os.access(path, os.X_OK) and wanted(names, "unit", test):
            for group in GROUPS.get(test, [""]):
                env = environment() | ({"EVERWARD_TEST_GROUPS": group} if group else {})
                jobs.append((run_tap, f"unit/{test}" + (f"_{group}" if group else ""), [path], UNIT_TIMEOUT_S, env))
    side_by_side(jobs)
    if wanted(names, "unit", "mutants"):
        mutants()


def mutants():
    """The test of the tests: programs built over deliberate faults must fail (node/cryptvfs/CMakeLists.txt)."""
    env = environment()
    del env["CMOCKA_MESSAGE_OUTPUT"]
    _, output = run(["ctest", "--test-dir", BUILD, "-R", "_mutant", "-j", JOBS, "--timeout", str(UNIT_TIMEOUT_S)], UNIT_TIMEOUT_S * 4, env)
    results = re.findall(r"Test +#\d+: (\S+) \.*\** *(Passed|\S+)", output)
    for name, word in results:
        record("passed" if word == "Passed" else "failed", f"unit/{name}")
    if not results:
        print(output[-4000:])
        record("failed", "unit/mutants", "none was run")


def part_python(part):
    """The files test_*.py in tests/PART, each in a process of its own."""
    folder = os.path.join(ROOT, "tests", part)

    def run_part(names):
        tests = [f.removesuffix(".py") for f in sorted(os.listdir(folder)) if f.startswith("test_") and f.endswith(".py")]
        jobs = {t: (run_tap, f"{part}/{t}", [sys.executable, "tests/runner.py", "--one", t], INTEGRATION_TIMEOUT_S, environment())
                for t in tests if wanted(names, part, t)}
        beside = {} if part in ONE_BY_ONE else {t: j for t, j in jobs.items() if t not in ALONE}
        side_by_side(beside.values())
        for test, (job, *args) in jobs.items():
            if test not in beside:
                job(*args)
    return run_part


def part_fuzz(names):
    if not (must(["cmake", "--preset", "fuzz"], "fuzz/configure") and
            must(["cmake", "--build", "--preset", "fuzz", "-j", JOBS], "fuzz/build with clang and libFuzzer")):
        return
    folder = os.path.join(ROOT, "build", "fuzz", "fuzz")
    programs = sorted(os.listdir(folder) if os.path.isdir(folder) else [])
    side_by_side([(fuzz, os.path.join(folder, p), p.removeprefix("fuzz_")) for p in programs
                  if p.startswith("fuzz_") and wanted(names, "fuzz", p.removeprefix("fuzz_"))])


def fuzz(program, test):
    corpus = os.path.join(ROOT, "tests", "fuzz", "corpus", test)
    with tempfile.TemporaryDirectory() as scratch:
        code, output = run([program, f"-max_total_time={FUZZ_S}", "-rss_limit_mb=2048",
                            f"-artifact_prefix={scratch}/", scratch] + ([corpus] if os.path.isdir(corpus) else []),
                           FUZZ_S * 6 + 60, environment())
    runs = re.search(r"Done (\d+) runs", output)
    if code == 0 and runs:
        record("passed", f"fuzz/{test}", f"{runs[1]} executions")
    else:
        print(output[-4000:])
        record("failed", f"fuzz/{test}", f"exit {code}")


def part_tidy(names):
    for check in ("boundaries", "planted", "format", "cppcheck", "clang", "clang-tidy", "docs"):
        if wanted(names, "tidy", check):
            must([sys.executable, "tests/tidy/check.py", check], f"tidy/{check}")


def part_demo(names):
    with tempfile.TemporaryDirectory(prefix="everward-demo-") as state:
        os.chmod(state, 0o755)
        started = time.monotonic()
        code, output = run(["packaging/demo", "--once", "--state", os.path.join(state, "d"), "--build", BUILD], 900,
                           environment())
        lines = output.strip().splitlines()
        last = lines[-1] if lines else ""
        if code == 0 and last == "demo: ok lost=0 duplicated=0 diverged=0 leaked=0 conflicts_open=1":
            record("passed", "demo/the story of an outage", f"{time.monotonic() - started:.0f} s")
        else:
            print(output[-8000:])
            record("failed", "demo/the story of an outage", last)
        run(["packaging/demo", "stop", "--state", os.path.join(state, "d")], 60, environment())


# Folders of Python tests; --one finds their files, and the helpers in integration, by name.
PYTHON = ("integration", "sim", "isolation", "fault", "e2e")
ONE_BY_ONE = {"sim", "fault", "e2e"}  # each keeps both cores busy, or measures
PARTS = {"tidy": part_tidy, "unit": part_unit, **{p: part_python(p) for p in PYTHON}, "demo": part_demo,
         "fuzz": part_fuzz}
NEED_BUILD = {"unit", "demo", *PYTHON}


class Tap(unittest.TextTestResult):
    """One TAP line per unittest, named by its method: the names are sentences."""
    number = 0

    def _line(self, word, test, tail=""):
        Tap.number += 1
        name = getattr(test, "_testMethodName", str(test).replace(" ", "_")).removeprefix("test_")
        print(f"{word} {Tap.number} - {name}{tail}", flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self._line("ok", test)

    def addError(self, test, err):
        super().addError(test, err)
        self._line("not ok", test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._line("not ok", test)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._line("ok", test, f" # SKIP {reason}")


def one(test):
    sys.path[:0] = [os.path.join(ROOT, "tests", part) for part in PYTHON] + [ROOT]
    suite = unittest.defaultTestLoader.loadTestsFromName(test)
    result = unittest.TextTestRunner(resultclass=Tap, verbosity=0).run(suite)
    return 0 if result.wasSuccessful() else 1


def leftovers():
    """Programs of this build that still run: a test forgot to stop them."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            exe = os.readlink(f"/proc/{pid}/exe")
        except OSError:
            continue
        if exe.startswith(BUILD + os.sep):
            found.append((int(pid), exe))
    return found


def main():
    parser = argparse.ArgumentParser(prog="tests/run", description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--list", action="store_true", help="list the parts")
    args = parser.parse_args()
    if args.one:
        return one(args.one)
    if args.list:
        print("\n".join(PARTS))
        return 0
    parts = [p for p in PARTS if not args.names or any(n == p or n.startswith(p + "/") for n in args.names)]
    if not parts:
        parser.error(f"no such part: {' '.join(args.names)}; there are {' '.join(PARTS)}")
    if not NEED_BUILD.intersection(parts) or build_asan():
        for part in parts:
            PARTS[part](args.names)
    for pid, exe in leftovers():
        os.kill(pid, signal.SIGKILL)
        record("failed", "run/leaves no process behind", exe)
    if failed:
        print("\nFailed:\n  " + "\n  ".join(failed))
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if counts["failed"] or counts["passed"] == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
