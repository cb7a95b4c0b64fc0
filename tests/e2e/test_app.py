"""The ward app in Debian's Chromium, on the node's own TLS."""

import filecmp
import os
import shutil
import subprocess
import tempfile
import unittest

import e2e_fixture as e2e


class Copies(unittest.TestCase):
    def test_the_library_in_the_app_is_the_one_that_the_lock_file_pins(self):
        if e2e.missing():
            self.skipTest(e2e.missing())
        e2e.modules()
        self.assertTrue(filecmp.cmp(os.path.join(e2e.ROOT, "node", "web", "preact.js"),
                                    os.path.join(e2e.HERE, "node_modules", "htm", "preact", "standalone.module.js"), shallow=False))


class Checks(unittest.TestCase):
    def test_what_speaks_against_a_dose_goes_by_when_it_was_given(self):
        if e2e.missing():
            self.skipTest(e2e.missing())
        with tempfile.TemporaryDirectory() as folder:  # the app's files are modules; node wants that said
            shutil.copytree(os.path.join(e2e.ROOT, "node", "web"), os.path.join(folder, "node", "web"))
            shutil.copytree(e2e.HERE, os.path.join(folder, "tests", "e2e"), ignore=shutil.ignore_patterns("node_modules"))
            with open(os.path.join(folder, "package.json"), "w", encoding="utf-8") as f:
                f.write('{"type": "module"}')
            done = subprocess.run(["node", os.path.join(folder, "tests", "e2e", "medicines.mjs")], capture_output=True, text=True, timeout=60)
        self.assertEqual((done.returncode, done.stdout), (0, "ok\n"), done.stderr)


class Ward(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if e2e.missing():
            raise unittest.SkipTest(e2e.missing())
        cls.world = e2e.World("ward.mjs", training=True)

    @classmethod
    def tearDownClass(cls):
        cls.world.close()

    def test_nobody_sees_a_patient_before_the_login(self):
        self.world.run("nobodySeesAPatientBeforeTheLogin")

    def test_the_board_is_there_at_once(self):
        self.world.run("theBoardIsThereWithinASecond")

    def test_a_round_of_vital_signs_appears_on_the_other_tablet(self):
        self.world.run("aRoundOfVitalSignsAppearsOnTheOtherTablet")

    def test_the_outage_is_told_and_nothing_is_lost(self):
        self.world.run("theOutageIsToldAndNothingIsLost")

    def test_what_looks_like_a_slip_is_asked_about(self):
        self.world.run("whatLooksLikeASlipIsAskedAbout")

    def test_what_was_on_paper_of_note_allergy_and_dose_is_entered_as_such(self):
        self.world.run("aNoteAnAllergyAndADoseFromPaperAreEnteredAsSuch")

    def test_the_tablets_own_wifi_goes_and_comes(self):
        self.world.run("theTabletsOwnWifiGoesAndComes")

    def test_a_dose_is_not_given_twice_by_accident(self):
        self.world.run("aDoseIsNotGivenTwiceByAccident")

    def test_one_enters_allergy_note_task_and_bed(self):
        self.world.run("oneEntersAllergyNoteTaskAndBed")

    def test_a_conflict_is_decided_on_one_node_and_gone_on_both(self):
        self.world.run("aConflictIsDecidedOnOneNodeAndGoneOnBoth")

    def test_a_paired_tablet_locks_and_opens_with_a_pin(self):
        self.world.run("aPairedTabletLocksAndOpensWithAPin")

    def test_a_chart_outside_the_ward_opens_with_a_reason_for_a_while(self):
        self.world.run("aChartOutsideTheWardOpensWithAReason")

    def test_the_ward_is_printed_with_what_it_needs(self):
        self.world.run("theWardIsPrintedWithWhatItNeeds")

    def test_what_was_written_on_paper_is_entered_as_such(self):
        self.world.run("whatWasWrittenOnPaperIsEnteredAsSuch")

    def test_a_task_from_paper_and_the_list_of_whose_paper_is_entered(self):
        self.world.run("aTaskFromPaperAndTheListOfWhoseIsEntered")

    def test_a_training_node_says_on_every_screen_and_page_what_it_is(self):
        self.world.run("aTrainingNodeSaysWhatItIs")

    def test_every_screen_is_legible_in_three_widths(self):
        self.world.run("everyScreenIsLegible")


if __name__ == "__main__":
    unittest.main()
