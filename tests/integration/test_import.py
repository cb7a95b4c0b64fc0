"""`everward-gateway import fhir` into a real PostgreSQL: everything read is counted, nothing is rewritten, a second run changes
nothing."""

import glob
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import unittest
import uuid

import pg

ROOT = pg.ROOT
BUILD = os.environ.get("EVERWARD_BUILD") or os.path.join(ROOT, "build", "asan")
PROGRAM = os.path.join(BUILD, "sync", "gateway", "everward-gateway")
SHARED = os.environ.get("EVERWARD_SHARED_DATA") or os.path.join(ROOT, "..", "shared", "data")
PATIENTS = 60
BATCH_ROWS = 2000  # GW_IMPORT_BATCH_ROWS

cluster = db = scratch = None


def setUpModule():
    global cluster, db, scratch
    scratch = tempfile.mkdtemp(prefix="ew-import-")
    cluster = pg.Cluster().start()
    db = cluster.create("import")
    with open(os.path.join(scratch, "gateway.conf"), "w") as f:
        f.write("[database]\nadmin_dsn = %s\n" % db.dsn("everward_admin"))
    subprocess.run([os.path.join(ROOT, "packaging", "synthetic-hospital"), "--seed", "5", "--patients", str(PATIENTS), "--wards", "2",
                    "--days", "2", "--out", os.path.join(scratch, "hospital"), "--quiet"], check=True)


def tearDownModule():
    cluster.stop()
    shutil.rmtree(scratch, ignore_errors=True)


def command(*words):
    return [PROGRAM, "--config", os.path.join(scratch, "gateway.conf"), "--json", "import", "fhir", *words]


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


class Imported:
    def __init__(self, done):
        self.code = done.returncode
        self.stderr = done.stderr
        self.report = json.loads(done.stdout) if done.stdout.strip() else None

    def sum(self, what):
        return sum(t[what] for t in self.report["types"].values())

    def reasons(self, about):
        return {(r["type"], r["reason"]): r["count"] for r in self.report["reasons"] if r["about"] == about}


class Case(unittest.TestCase):
    maxDiff = 3000

    def setUp(self):
        self.tenant = db.one("everward_admin", "SELECT everward.add_tenant('%s')" % uuid.uuid4())
        self.folder = tempfile.mkdtemp(dir=scratch)

    def load(self, *paths):
        """Imports, and holds the report to its promise."""
        got = Imported(subprocess.run(command(*paths, "--tenant", self.tenant), capture_output=True, text=True))
        for name, t in (got.report or {"types": {}})["types"].items():
            self.assertEqual(t["read"], t["written"] + t["unchanged"] + t["unplaced"] + t["refused"], name)
        for about in ("unplaced", "refused"):
            if got.report:
                self.assertEqual(sum(got.reasons(about).values()), got.sum(about), about)
        return got

    def write(self, name, *resources):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as f:
            for r in resources:
                f.write((r if isinstance(r, str) else json.dumps(r)) + "\n")
        return path

    def rows(self, sql):
        return db.sql("postgres", sql.replace("$t", "'%s'" % self.tenant))

    def one(self, sql):
        return self.rows(sql)[-1][0]

    def changes(self):
        return int(self.one("SELECT count(*) FROM everward.change WHERE tenant_id = $t"))

    def count(self, table):
        return int(self.one("SELECT count(*) FROM ward.%s WHERE tenant_id = $t" % table))


def patient(i, **more):
    return {"resourceType": "Patient", "id": i, **more}


def observation(i, who, value="36.70", **more):
    text = {"resourceType": "Observation", "id": i, "status": "final", "code": {"coding": [{"code": "8310-5"}]},
            "subject": {"reference": "Patient/" + who}, "valueQuantity": {"value": "@", "unit": "Cel"}, **more}
    return json.dumps(text).replace('"@"', value)


class Synthetic(Case):
    def test_a_hospital_goes_in_whole_and_a_second_run_changes_nothing(self):
        folder = os.path.join(scratch, "hospital")
        lines = {os.path.basename(p)[:-7]: len(read(p).splitlines()) for p in glob.glob(folder + "/*.ndjson")}
        first = self.load(folder)
        self.assertEqual(first.code, 0, first.stderr)
        self.assertEqual({n: t["written"] for n, t in first.report["types"].items()}, lines)
        self.assertEqual(first.reasons("dangling"), {})
        before = self.changes()
        self.assertGreater(before, lines["Observation"])
        second = self.load(folder)
        self.assertEqual(second.code, 0, second.stderr)
        self.assertEqual(second.sum("unchanged"), sum(lines.values()))
        self.assertEqual(self.changes(), before)

        self.decimals_are_as_in_the_files(folder)
        self.assertEqual(self.count("patient"), PATIENTS)
        self.assertEqual(self.count("staff"), lines["Practitioner"])
        self.assertEqual(self.one("SELECT count(*) FROM ward.staff WHERE tenant_id = $t AND verifier IS NOT NULL"), "0")
        self.assertEqual(self.one("SELECT count(*) FROM ward.location WHERE tenant_id = $t AND parent_id IS NULL"), "1")
        self.assertEqual(self.one("SELECT count(*) FROM ward.medication_administration m WHERE tenant_id = $t AND NOT EXISTS "
                                  "(SELECT FROM ward.dose_slot s WHERE s.tenant_id = m.tenant_id AND s.id = m.slot_id "
                                  "AND s.order_id = m.order_id)"), "0")
        # two active stays in one bed would be a conflict nobody made
        self.assertEqual(self.one("SELECT count(*) FROM (SELECT FROM ward.bed_stay WHERE tenant_id = $t AND status = 'active' "
                                  "GROUP BY location_id HAVING count(*) > 1) x"), "0")

    def decimals_are_as_in_the_files(self, folder):
        stored = {i: (v, at) for i, v, at in self.rows("SELECT id, value_decimal, effective_at FROM ward.observation WHERE tenant_id = $t")}
        seen = zeros = 0
        for line in read(folder + "/Observation.ndjson").splitlines():
            i = json.loads(line)["id"]
            value = re.search(r'"valueQuantity":\{"value":([^,]+),', line)
            if value and '"component"' not in line:
                self.assertEqual(stored[i][0], value[1])
                zeros += value[1].endswith("0") and "." in value[1]
                seen += 1
            self.assertEqual(stored[i][1], re.search(r'"effectiveDateTime":"([^"]+)"', line)[1])
        self.assertGreater(seen, PATIENTS)
        self.assertGreater(zeros, PATIENTS)

    def test_killed_at_any_moment_the_next_run_completes_it(self):
        folder = os.path.join(scratch, "hospital")
        p = subprocess.Popen(command(folder, "--tenant", self.tenant), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 30
        while self.changes() == 0 and time.monotonic() < end:
            time.sleep(0.01)
        p.send_signal(signal.SIGKILL)
        p.wait()
        again = self.load(folder)
        self.assertEqual(again.code, 0, again.stderr)
        self.assertEqual(again.sum("written") + again.sum("unchanged"), again.sum("read"))
        self.assertEqual(self.load(folder).sum("written"), 0)
        self.assertEqual(self.count("patient"), PATIENTS)

    def test_two_tenants_do_not_meet(self):
        folder = os.path.join(scratch, "hospital")
        self.load(folder + "/Organization.ndjson", folder + "/Location.ndjson", folder + "/Patient.ndjson")
        other = db.one("everward_admin", "SELECT everward.add_tenant('%s')" % uuid.uuid4())
        got = self.load(folder + "/Observation.ndjson")
        self.assertEqual(got.sum("written"), got.sum("read"))
        mine, self.tenant = self.tenant, other
        got = self.load(folder + "/Observation.ndjson")
        self.assertEqual((got.sum("written"), got.sum("unplaced")), (0, got.sum("read")))
        self.assertEqual(self.count("observation"), 0)
        self.tenant = mine


class Shared(Case):
    def setUp(self):
        super().setUp()
        if not os.path.isdir(SHARED):
            if os.environ.get("CI") == "true":
                self.fail("the shared data is not in %s" % SHARED)
            self.skipTest("the shared data is not in %s" % SHARED)

    def test_shared_data_is_placed_or_counted_and_a_second_run_changes_nothing(self):
        first = self.load(SHARED)
        self.assertEqual(first.sum("refused"), 0, first.stderr)
        self.assertEqual(first.code, 0)
        self.assertGreater(first.sum("written"), 3000)
        before = self.changes()
        second = self.load(SHARED)
        self.assertEqual(second.sum("written"), 0)
        self.assertEqual(second.sum("read"), first.sum("read"))
        self.assertEqual(self.changes(), before)
        self.assertEqual(second.reasons("unplaced"), first.reasons("unplaced"))
        self.assertEqual(second.reasons("dangling"), first.reasons("dangling"))

    def test_decimals_of_the_shared_data_are_kept_byte_for_byte(self):
        self.load(os.path.join(SHARED, "fhir"))
        stored = dict(self.rows("SELECT id, value_decimal FROM ward.observation WHERE tenant_id = $t AND value_decimal IS NOT NULL"))
        seen = 0
        for line in read(os.path.join(SHARED, "fhir", "Observation.ndjson")).splitlines():
            value = json.loads(line, parse_float=str, parse_int=str).get("valueQuantity", {}).get("value")
            if value is not None and "e" not in value.lower():
                self.assertEqual(stored[json.loads(line)["id"]], value)
                seen += 1
        self.assertGreater(seen, 1000)


class Input(Case):
    def test_malformed_lines_are_told_by_place_and_the_rest_goes_in(self):
        path = self.write("Patient.ndjson", patient("a"), '{"resourceType":"Patient","id":"b"', "", patient("c", birthDate="2026-02-30"),
                          '{"resourceType":"Patient","id":"d","id":"e"}', "\x00", patient("f"))
        got = self.load(path)
        self.assertEqual(got.code, 1)
        self.assertEqual(got.report["types"]["Patient"], {"read": 3, "written": 2, "unchanged": 0, "unplaced": 0, "refused": 1})
        self.assertEqual(got.report["types"]["(not readable)"]["refused"], 3)
        for line in (2, 4, 5, 6):
            self.assertIn("%s:%d: " % (path, line), got.stderr)
        self.assertNotIn("2026-02-30", got.stderr)
        self.assertEqual(self.count("patient"), 2)

    def test_a_line_larger_than_the_limit_is_refused_and_those_around_it_go_in(self):
        path = self.write("Patient.ndjson", patient("a"), patient("b", text="x" * (5 * 1024 * 1024)), patient("c"))
        got = self.load(path)
        self.assertEqual((got.code, got.sum("written"), got.sum("refused")), (1, 2, 1))
        self.assertIn(path + ":2: ", got.stderr)

    def test_a_last_line_without_newline_and_windows_line_ends_are_read(self):
        path = os.path.join(self.folder, "Patient.ndjson")
        with open(path, "wb") as f:
            f.write(b"\xef\xbb\xbf" + json.dumps(patient("a")).encode() + b"\r\n\r\n" + json.dumps(patient("b")).encode())
        self.assertEqual(self.load(path).sum("written"), 2)

    def test_names_keep_their_letters(self):
        name = "O'Brien \"Þórsdóttir\" \\ 佐藤 {,} \U0001F600"
        self.load(self.write("Patient.ndjson", patient("a", name=[{"family": name}])))
        self.assertEqual(self.one("SELECT family_name FROM ward.patient WHERE tenant_id = $t"), name)

    def test_odd_values_stay_text(self):
        for n, value in enumerate(("NULL", "null", "{}", "'; DROP TABLE ward.patient; --", "\\x00", "$1")):
            self.load(self.write("Patient.ndjson", patient("p%d" % n, name=[{"family": value}])))
        self.assertEqual(self.one("SELECT count(*) FROM ward.patient WHERE tenant_id = $t AND family_name IS NOT NULL"), "6")

    def test_order_does_not_matter_within_a_file_of_all_types(self):
        fill = [patient("filler-%d" % n) for n in range(2 * BATCH_ROWS)]  # so that they stand in different batches
        path = self.write("mixed.ndjson", observation("o", "p"),
                          {"resourceType": "Condition", "id": "c", "subject": {"reference": "Patient/p"}, "encounter": {"reference": "Encounter/e"}},
                          {"resourceType": "Location", "id": "bed", "partOf": {"reference": "Location/room"}}, *fill[:BATCH_ROWS],
                          {"resourceType": "Encounter", "id": "e", "status": "finished", "subject": {"reference": "Patient/p"}},
                          {"resourceType": "Location", "id": "room", "partOf": {"reference": "Location/ward"}}, *fill[BATCH_ROWS:],
                          {"resourceType": "Location", "id": "ward"}, patient("p"))
        got = self.load(path)
        self.assertEqual((got.sum("written"), got.sum("read")), (7 + len(fill), 7 + len(fill)))
        self.assertEqual(got.reasons("dangling"), {})
        self.assertEqual(self.one("SELECT count(*) FROM ward.condition WHERE tenant_id = $t AND encounter_id IS NOT NULL"), "1")
        self.assertEqual(self.one("SELECT count(*) FROM ward.location WHERE tenant_id = $t AND parent_id IS NOT NULL"), "2")
        before = self.changes()
        self.assertEqual(self.load(path).sum("unchanged"), 7 + len(fill))
        self.assertEqual(self.changes(), before)

    def test_two_patients_may_link_each_other(self):
        link = lambda other: [{"other": {"reference": "Patient/" + other}, "type": "seealso"}]
        path = self.write("Patient.ndjson", patient("a", link=link("b")), patient("b", link=link("a")))
        self.load(path)
        self.assertEqual(self.count("patient_link"), 2)

    def test_an_observation_without_its_patient_is_unplaced_and_comes_in_when_the_patient_has(self):
        path = self.write("Observation.ndjson", observation("o", "p"))
        got = self.load(path)
        self.assertEqual((got.code, got.sum("unplaced"), self.count("observation")), (0, 1, 0))
        self.assertEqual(got.reasons("unplaced"), {("Observation", "observation.patient_id: no such patient"): 1})
        self.load(self.write("Patient.ndjson", patient("p")))
        self.assertEqual(self.load(path).sum("written"), 1)

    def test_a_reference_without_a_row_is_counted_and_mended_later(self):
        path = self.write("all.ndjson", patient("p"),
                          {"resourceType": "Condition", "id": "c", "subject": {"reference": "Patient/p"}, "encounter": {"reference": "Encounter/e"}})
        got = self.load(path)
        self.assertEqual((got.sum("written"), list(got.reasons("dangling").values())), (2, [1]))
        self.assertEqual(self.one("SELECT encounter_id IS NULL FROM ward.condition WHERE tenant_id = $t"), "t")
        self.load(self.write("Encounter.ndjson", {"resourceType": "Encounter", "id": "e", "subject": {"reference": "Patient/p"}}))
        self.assertEqual(self.load(path).sum("written"), 1)
        self.assertEqual(self.one("SELECT encounter_id IS NULL FROM ward.condition WHERE tenant_id = $t"), "f")

    def test_a_fact_with_another_content_is_told_and_stays(self):
        self.load(self.write("Patient.ndjson", patient("p")), self.write("Observation.ndjson", observation("o", "p", "36.7")))
        got = self.load(self.write("Observation.ndjson", observation("o", "p", "36.70")))
        self.assertEqual((got.sum("unplaced"), got.sum("written")), (1, 0))
        self.assertIn("another content", list(got.reasons("unplaced"))[0][1])
        self.assertEqual(self.one("SELECT value_decimal FROM ward.observation WHERE tenant_id = $t"), "36.7")

    def test_what_changed_at_the_source_changes_one_row_once(self):
        self.load(self.write("Patient.ndjson", patient("p", gender="female"), patient("q", gender="male")))
        before = self.changes()
        got = self.load(self.write("Patient.ndjson", patient("p", gender="other"), patient("q", gender="male")))
        self.assertEqual((got.sum("written"), got.sum("unchanged")), (1, 1))
        self.assertEqual(self.changes(), before + 1)

    def test_an_import_does_not_let_a_person_in_again(self):
        path = self.write("Practitioner.ndjson", {"resourceType": "Practitioner", "id": "x", "active": True, "name": [{"family": "Roe"}]})
        self.load(path)
        self.rows("UPDATE ward.staff SET active = false, verifier = 'v', username = 'roe' WHERE tenant_id = $t")
        self.assertEqual(self.load(path).sum("unchanged"), 1)
        self.assertEqual(self.rows("SELECT active, verifier, username FROM ward.staff WHERE tenant_id = $t"), [["f", "v", "roe"]])

    def test_one_bad_row_does_not_take_its_batch_with_it(self):
        self.rows("INSERT INTO ward.staff (id, tenant_id, username) VALUES (gen_random_uuid(), $t, 'roe-77eb4c12')")
        path = self.write("Practitioner.ndjson", *[{"resourceType": "Practitioner", "id": "563460b4-b997-4772-a548-a9f8%s" % end,
                                                   "name": [{"family": "Roe"}]} for end in ("77eb4c11", "77eb4c12", "77eb4c13")])
        got = self.load(path)
        self.assertEqual((got.sum("written"), got.sum("unplaced"), got.code), (2, 1, 0))
        self.assertIn("23505", list(got.reasons("unplaced"))[0][1])

    def test_the_same_resource_twice_is_one_row(self):
        path = self.write("Patient.ndjson", patient("p"), patient("p"), patient("p", gender="male"))
        got = self.load(path)
        self.assertEqual((got.sum("written"), got.sum("unchanged"), self.count("patient")), (2, 1, 1))


class Bundles(Case):
    def bundle(self, kind, *entries):
        path = os.path.join(self.folder, "Bundle-x.json")
        with open(path, "w", encoding="utf-8") as f:
            f.write(json.dumps({"resourceType": "Bundle", "type": kind, "entry": list(entries)}, indent=1).replace('"36.70"', "36.70"))
        return path

    def test_a_transaction_bundle_resolves_its_urns(self):
        who = str(uuid.uuid4())
        o = json.loads(observation("o", "p", '"36.70"'))
        o["subject"] = {"reference": "urn:uuid:" + who}
        path = self.bundle("transaction", {"fullUrl": "urn:uuid:" + str(uuid.uuid4()), "resource": o},
                           {"fullUrl": "urn:uuid:" + who, "resource": {"resourceType": "Patient"}},
                           {"request": {"method": "DELETE", "url": "Patient/x"}})
        got = self.load(path)
        self.assertEqual((got.sum("written"), got.sum("unplaced"), got.code), (2, 1, 0))
        self.assertEqual(self.rows("SELECT patient_id, value_decimal FROM ward.observation WHERE tenant_id = $t"), [[who, "36.70"]])
        self.assertEqual(self.load(path).sum("unchanged"), 2)

    def test_each_kind_of_bundle_is_taken_but_a_history(self):
        for kind in ("batch", "searchset", "collection", "document"):
            got = self.load(self.bundle(kind, {"resource": patient("p-" + kind)}))
            self.assertEqual(got.sum("written"), 1, kind)
        got = self.load(self.bundle("history", {"resource": patient("h")}))
        self.assertEqual((got.sum("written"), got.sum("unplaced")), (0, 1))

    def test_a_bundle_of_many_thousand_entries_is_read(self):
        got = self.load(self.bundle("collection", {"resource": patient("p")},
                                    *[{"resource": json.loads(observation("o%d" % n, "p", '"36.70"'))} for n in range(20000)]))
        self.assertEqual(got.sum("written"), 20001)
        self.assertEqual(self.one("SELECT count(*) FROM ward.observation WHERE tenant_id = $t AND value_decimal::text = '36.70'"), "20000")

    def test_a_broken_entry_is_told_by_its_number(self):
        path = os.path.join(self.folder, "b.json")
        with open(path, "w") as f:
            f.write('{"resourceType":"Bundle","type":"batch","entry":[{"resource":%s},{"resource":{"a":1,"a":2}}]}' % json.dumps(patient("p")))
        got = self.load(path)
        self.assertEqual((got.code, got.sum("written"), got.sum("refused")), (1, 1, 1))
        self.assertIn("entry 2", got.stderr)


class Surroundings(Case):
    def test_an_unknown_tenant_a_missing_file_and_an_empty_folder_are_told(self):
        path = self.write("Patient.ndjson", patient("p"))
        for words, why in (((path, "--tenant", "nobody at all"), "no tenant"), ((self.folder + "/none.ndjson", "--tenant", self.tenant), "none.ndjson"),
                           ((tempfile.mkdtemp(dir=scratch), "--tenant", self.tenant), "no file"), ((path + "/", "--tenant", self.tenant), "")):
            done = subprocess.run(command(*words), capture_output=True, text=True)
            self.assertNotEqual(done.returncode, 0, words)
            self.assertIn(why, done.stderr)
        self.assertEqual(self.count("patient"), 0)

    def test_files_of_another_kind_are_counted(self):
        self.write("README.md", "hello")
        self.write("Patient.ndjson", patient("p"))
        got = self.load(self.folder)
        self.assertEqual((got.report["files"], got.report["skipped_files"]), (1, 1))

    def test_the_table_for_people_ends_with_the_sum(self):
        path = self.write("Patient.ndjson", patient("p"))
        words = [w for w in command(path, "--tenant", self.tenant) if w != "--json"]
        out = subprocess.run(words, capture_output=True, text=True).stdout
        self.assertRegex(out, r"(?m)^Patient +1 +1 +0 +0 +0$")
        self.assertRegex(out, r"(?m)^in all +1 +1 +0 +0 +0$")


if __name__ == "__main__":
    unittest.main()
