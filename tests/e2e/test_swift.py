"""A full ward of 60 beds with a day of hourly rounds, in Debian's Chromium: how long the screens keep a nurse waiting."""

import unittest

import e2e_fixture as e2e


class Swift(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if e2e.missing():
            raise unittest.SkipTest(e2e.missing())
        cls.world = e2e.World("swift.mjs", nodes=("Alder",), patients=60, wards=1, more=("--rooms", "30", "--observations-per-patient", "120"))

    @classmethod
    def tearDownClass(cls):
        cls.world.close()

    def test_a_full_board_is_there_and_no_task_stops_the_finger(self):
        self.world.run("aFullBoardStaysSmooth")

    def test_an_entry_is_on_the_second_tablet_at_once(self):
        self.world.run("anEntryIsOnTheSecondTabletAtOnce")


if __name__ == "__main__":
    unittest.main()
