"""The synthetic hospital: the same bytes from the same seed, references that hold, a bed for one patient at a time."""

import collections
import filecmp
import json
import os
import shutil
import subprocess
import tempfile
import unittest
import uuid

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.path.join(ROOT, "packaging", "synthetic-hospital")
RATE_MIN = 5000  # resources a second; four times below what a busy two-core machine gives


def make(folder, *more, seed=7, patients=150, wards=2, days=2):
    done = subprocess.run([PROGRAM, "--seed", str(seed), "--patients", str(patients), "--wards", str(wards), "--days", str(days),
                           "--out", folder, *more], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return done.stdout


def read(folder):
    data = {}
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), encoding="utf-8") as f:
            data[name[:-7]] = [json.loads(line, parse_float=str) for line in f]
    return data


def references(value):
    if isinstance(value, dict):
        if isinstance(value.get("reference"), str):
            yield value["reference"]
        for v in value.values():
            yield from references(v)
    elif isinstance(value, list):
        for v in value:
            yield from references(v)


class Synthetic(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.mkdtemp(prefix="ew-synthetic-")
        cls.one = os.path.join(cls.scratch, "one")
        make(cls.one)
        cls.data = read(cls.one)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.scratch)

    def other(self, *more, **how):
        folder = tempfile.mkdtemp(dir=self.scratch)
        make(folder, *more, **how)
        return folder

    def test_the_same_seed_gives_the_same_bytes(self):
        again = self.other()
        names = sorted(os.listdir(self.one))
        self.assertEqual(names, sorted(os.listdir(again)))
        self.assertEqual(filecmp.cmpfiles(self.one, again, names, shallow=False)[1:], ([], []))

    def test_another_seed_gives_other_people(self):
        ids = {r["id"] for r in read(self.other(seed=8))["Patient"]}
        self.assertEqual(ids & {r["id"] for r in self.data["Patient"]}, set())

    def test_ids_are_uuids_and_unique(self):
        seen = collections.Counter(r["id"] for rs in self.data.values() for r in rs)
        self.assertEqual([i for i, n in seen.items() if n > 1], [])
        for i in seen:
            self.assertEqual(str(uuid.UUID(i)), i)

    def test_every_reference_leads_to_a_resource(self):
        there = {t + "/" + r["id"] for t, rs in self.data.items() for r in rs}
        wanted = {x for rs in self.data.values() for r in rs for x in references(r)}
        self.assertGreater(len(wanted), 150)
        self.assertEqual(wanted - there, set())

    def test_every_kind_a_ward_needs_is_there(self):
        for t in ("Organization", "Location", "Practitioner", "PractitionerRole", "Patient", "Encounter", "AllergyIntolerance",
                  "Condition", "MedicationRequest", "Task", "MedicationAdministration", "Observation", "Appointment",
                  "ServiceRequest", "Specimen", "DiagnosticReport"):
            self.assertGreater(len(self.data[t]), 0, t)
        codes = {c["code"] for a in self.data["AllergyIntolerance"] for c in a["code"]["coding"]}
        self.assertIn("716186003", codes)
        self.assertTrue(any(o.get("valueQuantity", {}).get("value", "").endswith("0") for o in self.data["Observation"]
                            if isinstance(o.get("valueQuantity", {}).get("value"), str)))

    def test_a_bed_has_one_patient_at_a_time(self):
        stays = collections.defaultdict(list)
        for e in self.data["Encounter"]:
            for place in e["location"]:
                if place["physicalType"]["coding"][0]["code"] == "bd":
                    p = place["period"]
                    stays[place["location"]["reference"]].append((p["start"], p.get("end", "9999")))
        self.assertGreater(len(stays), 20)
        for periods in stays.values():
            periods.sort()
            for a, b in zip(periods, periods[1:]):
                self.assertLessEqual(a[1], b[0])

    def test_record_numbers_end_with_their_check_digit(self):
        for p in self.data["Patient"]:
            total = 0
            for i, c in enumerate(reversed(p["identifier"][0]["value"])):
                n = int(c) * (2 if i % 2 else 1)
                total += n - 9 if n > 9 else n
            self.assertEqual(total % 10, 0)

    def test_a_given_number_of_observations_is_kept(self):
        data = read(self.other("--observations-per-patient", "13", patients=20))
        per_patient = collections.Counter(o["subject"]["reference"] for o in data["Observation"])
        self.assertEqual(set(per_patient.values()), {13})
        self.assertEqual(len(per_patient), 20)

    def test_no_patients_is_a_hospital_too(self):
        data = read(self.other(patients=0))
        self.assertEqual(len(data["Patient"]), 0)
        self.assertGreater(len(data["Location"]), 10)

    def test_memory_does_not_grow_with_the_size(self):
        peak = {}
        for patients in (200, 2000):
            out = os.path.join(self.scratch, "m%d" % patients)
            code = ("import sys, resource; sys.path.insert(0, %r); sys.dont_write_bytecode = True; import synthetic_hospital as s;"
                    "s.make(%r, seed=1, patients=%d, wards=4, days=3, name='x');"
                    "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)" % (os.path.dirname(PROGRAM), out, patients))
            peak[patients] = int(subprocess.run(["python3", "-c", code], check=True, capture_output=True, text=True).stdout)
            shutil.rmtree(out)
        self.assertLess(peak[2000], peak[200] + 8192, "KiB at most")

    def test_it_is_fast_enough_and_says_so(self):
        out = make(os.path.join(self.scratch, "fast"), patients=1000)
        total, seconds = out.splitlines()[-1].split()[2], float(out.splitlines()[-1].split()[4])
        self.assertGreater(int(total.replace(",", "")) / max(seconds, 0.01), RATE_MIN)

    def test_bad_arguments_are_refused_with_a_reason(self):
        for more, why in ((["--patients", "-1"], "does not lie between"), (["--wards", "x"], "not a whole number"),
                          (["--until", "2026-06-01T08:00:00"], "offset"), (["--nonsense"], "unrecognized")):
            done = subprocess.run([PROGRAM, "--out", os.path.join(self.scratch, "bad"), *more], capture_output=True, text=True)
            self.assertEqual(done.returncode, 2, more)
            self.assertIn(why, done.stderr)
        self.assertFalse(os.path.exists(os.path.join(self.scratch, "bad")))

    def test_a_folder_that_cannot_be_written_is_told(self):
        done = subprocess.run([PROGRAM, "--out", "/proc/nothing/here"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("/proc/nothing", done.stderr)


if __name__ == "__main__":
    unittest.main()
