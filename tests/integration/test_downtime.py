"""The downtime folder: what a dead node leaves behind, opened where there is neither node nor database.

Real programs: everward, everward-gateway, PostgreSQL (stack.py)."""

import os
import shutil
import signal
import stat
import subprocess
import time
import unittest

import stack

LAKESIDE = "Lakeside"
NASTY = "<script>alert(1)</script>&\"'"
s = node = packs = secret = None


def everward(*words):
    """As on a machine that has nothing but the program: no configuration, no state folder."""
    return subprocess.run([stack.EVERWARD, *words], capture_output=True, text=True, timeout=60, cwd=s.folder)


def until(good, what, seconds=60):
    end = time.monotonic() + seconds
    while not good():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.1)


def setUpModule():
    global s, node, packs, secret
    if not stack.built():
        raise unittest.SkipTest("everward is not built")
    s = stack.Stack().start()
    node = s.new_node("Alder", LAKESIDE)
    packs, secret = os.path.join(s.folder, "packs"), os.path.join(s.folder, "secret")
    os.mkdir(packs, 0o700)
    made = everward("downtime", "key", "--secret-file", secret)
    assert made.returncode == 0, made.stderr
    node.configure("[downtime]\nfolder = %s\nkey = %s\nevery_s = 5\ndays = 2\n" % (packs, made.stdout.strip()))
    node.setup()
    node.start()
    node.wait_current()


def tearDownModule():
    s.stop()


def open_packs(folder=None, key=None, out=None):
    out = out or os.path.join(s.folder, "out-%d" % time.monotonic_ns())
    done = everward("downtime", "open", folder or packs, "--out", out, "--secret-file", key or secret)
    pages = {}
    for name in sorted(os.listdir(out)) if os.path.isdir(out) else []:
        with open(os.path.join(out, name), encoding="utf-8") as f:
            pages[name] = f.read()
    return done, pages


class Downtime(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        tablet = node.tablet()
        rows = {}

        def add(table, **values):
            rows[table] = tablet.create(table, values)["id"]
            return rows[table]

        site = s.db.one("postgres", "SELECT site_id FROM everward.site LIMIT 1")
        ward, bed = "0192f0e8-0000-7000-8000-00000000aaaa", "0192f0e8-0000-7000-8000-00000000aaab"
        s.as_app(LAKESIDE, "INSERT INTO ward.location (tenant_id, site_id, id, kind, name, parent_id, active) VALUES "
                 "('{0}', '{1}', '{2}', 'ward', 'Birch ward', NULL, true), ('{0}', '{1}', '{3}', 'bed', 'Bed 7', '{2}', true), "
                 "('{0}', '{1}', gen_random_uuid(), 'bed', 'Bed 10', '{2}', true), ('{0}', '{1}', gen_random_uuid(), 'bed', 'Bed 9', '{2}', true), "
                 "('{0}', '{1}', gen_random_uuid(), 'bed', 'Bed 8 away', '{2}', false)".format(s.tenants[LAKESIDE], site, ward, bed))
        until(lambda: any(r["id"] == bed for r in tablet.all("location")), "the ward is not here")
        cls.patient = add("patient", family_name="Okafor", given_names=NASTY, birth_date="1951-03-02", active=True)
        visit = add("encounter", patient_id=cls.patient, status="in-progress", class_code="IMP", code_status="DNACPR",
                    started_at="2026-01-01T00:00:00Z")
        add("bed_stay", patient_id=cls.patient, encounter_id=visit, location_id=bed, status="active", started_at="2026-01-01T00:00:00Z")
        add("allergy", patient_id=cls.patient, kind="allergy", display="Penicillin", criticality="high", reaction_text="rash")
        add("condition", patient_id=cls.patient, display="Heart failure", clinical_status="active")
        add("observation", patient_id=cls.patient, status="final", category="vital-signs", code="8867-4", display="Heart rate",
            value_decimal="71", value_unit="/min", effective_at="2026-01-01T08:00:00Z")
        for score, at in (("9", "2026-01-01T07:00:00Z"), ("4", "2026-01-01T08:00:00Z")):
            add("observation", patient_id=cls.patient, status="final", category="survey", code="1104051000000101", display="NEWS2 total score",
                value_decimal=score, effective_at=at)
        add("medication_order", patient_id=cls.patient, status="active", intent="order", display="Furosemide", code="x",
            dose_quantity="40", dose_unit="mg", route="oral", frequency_text="once a day", start_at="2026-01-01T00:00:00Z")
        cls.ward = ward
        until(cls.holds("Furosemide"), "no pack holds the last thing written")

    @classmethod
    def holds(cls, text):
        return lambda: any(text in page for page in open_packs()[1].values())

    def test_a_dead_nodes_folder_opens_and_tells_what_the_ward_needs(self):
        node.kill()
        elsewhere = os.path.join(s.folder, "another-machine")
        shutil.copytree(packs, elsewhere)
        try:
            done, pages = open_packs(elsewhere)
        finally:
            node.start()
        self.assertEqual(done.returncode, 0, done.stderr)
        page = pages[self.ward + ".html"]
        for fact in ("Birch ward", "Bed 7", "Okafor", "1951-03-02", "DNACPR", "Penicillin (!): rash", "Heart failure", "Heart rate",
                     "<b>71</b>", "Furosemide", "40 mg oral once a day", "Medicines, 2 days", "As of ", "Free beds: Bed 9, Bed 10<"):
            self.assertIn(fact, page)
        self.assertEqual(page.count("<b>As of "), 2)  # the census and the patient's sheet
        self.assertEqual(page.count("<b>4</b> ("), 2)  # NEWS2, the newest only
        self.assertNotIn("TRAINING", page)
        self.assertIn("@bottom-right", page)  # and at the foot of each printed page
        self.assertNotIn("<script", page)
        self.assertIn("&lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;&#39;", page)
        self.assertIn("default-src 'none'", page)
        self.assertEqual(node.status()["downtime_folder"], True)

    def test_a_training_nodes_pack_says_on_every_page_that_nobody_is_real(self):
        folder = os.path.join(s.folder, "practice-packs")
        os.mkdir(folder, 0o700)
        key = everward("downtime", "key", "--secret-file", folder + ".secret").stdout.strip()
        n = s.training("Practice", "[downtime]\nfolder = %s\nkey = %s\nevery_s = 5\n" % (folder, key))
        until(lambda: open_packs(folder, folder + ".secret")[1], "no pack")
        n.stop()
        page = next(iter(open_packs(folder, folder + ".secret")[1].values()))
        self.assertGreater(page.count("<section>"), 5)
        self.assertEqual(page.count("TRAINING &ndash; not real patients"), page.count("<section>"))
        self.assertIn("@top-center", page)  # and on the pages that a long section runs on to

    def test_nothing_of_a_patient_is_readable_in_the_folder(self):
        for name in os.listdir(packs):
            path = os.path.join(packs, name)
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
            with open(path, "rb") as f:
                data = f.read()
            for word in (b"Okafor", b"Penicillin", b"html", b"Birch"):
                self.assertNotIn(word, data)

    def test_another_key_a_changed_file_and_a_cut_one_are_refused_and_write_nothing(self):
        wrong = os.path.join(s.folder, "wrong")
        if not os.path.exists(wrong):
            everward("downtime", "key", "--secret-file", wrong)
        copy = os.path.join(s.folder, "bad")
        name = self.ward + ".ewdown"
        with open(os.path.join(packs, name), "rb") as f:
            good = f.read()
        done, pages = open_packs(key=wrong)
        self.assertEqual((done.returncode, pages), (77, {}))
        self.assertIn("another key", done.stderr)
        for bad in (good[:-1], good[:70], good[:100] + bytes([good[100] ^ 1]) + good[101:], good + b"x", b""):
            shutil.rmtree(copy, ignore_errors=True)
            os.mkdir(copy)
            with open(os.path.join(copy, name), "wb") as f:
                f.write(bad)
            done, pages = open_packs(copy)
            self.assertNotEqual(done.returncode, 0)
            self.assertEqual(pages, {})

    def test_a_passphrase_opens_as_well_and_a_key_with_a_slip_is_refused(self):
        words = os.path.join(s.folder, "words")
        with open(words, "w", encoding="utf-8") as f:
            f.write("nine birches by the lake\n")
        made = everward("downtime", "key", "--passphrase-file", words)
        self.assertTrue(made.stdout.startswith("ewdown1:"), made.stderr)
        with open(words, "w", encoding="utf-8") as f:
            f.write("nine birches by the pond\n")
        done = everward("downtime", "open", packs, "--out", os.path.join(s.folder, "o"), "--passphrase-file", words)
        self.assertEqual(done.returncode, 77)
        slip = made.stdout.strip()[:-1] + ("0" if made.stdout.strip()[-1] != "0" else "1")
        node.stop()
        try:
            done = subprocess.run([stack.EVERWARD, "serve", "--config", node.config], capture_output=True, text=True, timeout=60,
                                  env={**os.environ, "EVERWARD_DOWNTIME_KEY": slip})
        finally:
            node.start()
        self.assertEqual(done.returncode, 78, done.stderr)
        self.assertIn("downtime.key", done.stderr)

    def test_a_lost_folder_is_told_and_the_ward_goes_on(self):
        away = packs + ".away"
        os.rename(packs, away)
        try:
            status = node.wait(lambda st: st["downtime_problem"], 60)
            self.assertEqual(status["state"], "attention")
            self.assertIn("downtime folder", status["reason"])
            node.tablet().create("patient", {"family_name": "Lind", "given_names": "Eva", "active": True})
        finally:
            os.rename(away, packs)
        node.wait(lambda st: st["downtime_problem"] is None and st["state"] == "current", 60)

    def test_killed_at_any_moment_the_last_complete_pack_stays(self):
        for n in range(6):
            before = os.stat(os.path.join(packs, self.ward + ".ewdown")).st_ino
            until(lambda: os.stat(os.path.join(packs, self.ward + ".ewdown")).st_ino != before or n % 2, "not refreshed")
            node.stop(signal.SIGKILL)
            done, pages = open_packs()
            node.start()
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("Okafor", pages[self.ward + ".html"])


if __name__ == "__main__":
    unittest.main()
