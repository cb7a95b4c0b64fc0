"""The ward's board in one reply, and the app's files."""

import time
import unittest

from api_fixture import OTHER, PAT, Events, Node, have_server, row_id
from test_api_openapi import check

WARD, ROOM, BED, EMPTY, ELSEWHERE = (row_id(n) for n in range(5000, 5005))


def place(i, kind, name, parent=None):
    return ("i", "location", {"id": i, "kind": kind, "name": name, "parent_id": parent, "active": "t"})


class Board(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not have_server():
            raise unittest.SkipTest("api_server is not built")
        cls.node = Node()
        cls.node.feed([place(WARD, "ward", "Alder"), place(ROOM, "room", "Alder 1", WARD), place(BED, "bed", "Alder 1A", ROOM),
                       place(EMPTY, "bed", "Alder 1B", ROOM), place(ELSEWHERE, "ward", "Birch")])
        cls.ann, cls.bob, cls.dora = (cls.node.login(n) for n in ("ann", "bob", "dora"))
        cls.doc = cls.bob.get("/openapi.json").json
        cls.stays = [cls.bob.post("bed_stay", {"patient_id": p, "location_id": BED, "status": s, "started_at": "2026-01-01T00:00:00Z"}).json
                     for p, s in ((PAT, "active"), (OTHER, "active"), (OTHER, "completed"))]
        cls.bob.post("allergy", {"patient_id": PAT, "kind": "allergy", "display": "Penicillin"})
        cls.bob.post("task", {"patient_id": PAT, "status": "completed", "description": "over"})

    @classmethod
    def tearDownClass(cls):
        for c in (cls.ann, cls.bob, cls.dora):
            c.close()
        cls.node.close()

    def test_two_patients_in_one_bed_are_both_shown(self):
        board = self.ann.get(f"wards/{WARD}/board").json
        self.assertEqual({p["id"] for p in board["places"]}, {WARD, ROOM, BED, EMPTY})
        self.assertEqual({s["stay"]["id"] for s in board["stays"]}, {s["id"] for s in self.stays[:2]})
        pat = next(s for s in board["stays"] if s["stay"]["patient_id"] == PAT)
        self.assertEqual((pat["patient"]["family_name"], [a["display"] for a in pat["allergies"]], pat["tasks"]), ("Adeyemi", ["Penicillin"], []))
        self.assertEqual(check(self.doc, {"$ref": "#/components/schemas/board"}, board), [])

    def test_one_patient_of_it_can_be_asked_for(self):
        board = self.ann.get(f"wards/{WARD}/board?patient_id={OTHER}").json
        self.assertEqual([s["stay"]["patient_id"] for s in board["stays"]], [OTHER])
        self.assertEqual(self.ann.get(f"wards/{WARD}/board?patient_id=x").code, "bad_filter")
        self.assertEqual(self.ann.get(f"wards/{WARD}/board?x=y").code, "unknown_parameter")

    def test_another_ward_is_another_board_and_no_ward_is_none(self):
        self.assertEqual(self.ann.get(f"wards/{ELSEWHERE}/board").json["stays"], [])
        self.assertEqual(self.ann.get(f"wards/{row_id(9999)}/board").code, "not_found")

    def test_it_needs_a_session_and_the_right_to_read(self):
        self.assertEqual(self.node.client().get(f"/api/v1/wards/{WARD}/board").code, "not_logged_in")
        self.assertEqual(self.dora.get(f"wards/{WARD}/board").code, "not_permitted")

    def test_a_dose_that_is_open_elsewhere_is_told(self):
        slot = row_id(6000)
        stream = Events(self.bob)
        try:
            self.assertEqual(self.ann.send("POST", "/api/v1/claims", {"slot_id": slot}).json, {"others": []})
            told = stream.wait(lambda e: e[1] == "claim")[2]
            self.assertEqual((told["slot_id"], told["name"]), (slot, "Ann Berg"))
            others = self.bob.send("POST", "/api/v1/claims", {"slot_id": slot}).json
            self.assertEqual([o["name"] for o in others["others"]], ["Ann Berg"])
            self.assertEqual(check(self.doc, {"$ref": "#/components/schemas/claims"}, others), [])
            self.ann.send("POST", "/api/v1/claims", {"slot_id": slot, "release": True})
            self.assertEqual(self.bob.send("POST", "/api/v1/claims", {"slot_id": slot}).json, {"others": []})
            self.assertEqual(self.ann.send("POST", "/api/v1/claims", {"slot_id": "x"}).code, "invalid_value")
            self.assertEqual(self.dora.send("POST", "/api/v1/claims", {"slot_id": slot}).code, "not_permitted")
        finally:
            stream.close()

    def test_the_last_days_waiting_changes_are_told_and_only_it_may_start_a_sync(self):
        history = self.ann.get("sync/history").json
        for _ in range(60):
            if history["items"]:
                break
            time.sleep(0.1)
            history = self.ann.get("sync/history").json
        self.assertEqual(check(self.doc, {"$ref": "#/components/schemas/sync_history"}, history), [])
        self.assertGreaterEqual(len(history["items"]), 1)
        ivo = self.node.login("ivo")
        machine = ivo.get("machine").json
        ivo.close()
        self.assertEqual(check(self.doc, {"$ref": "#/components/schemas/machine"}, machine), [])
        self.assertEqual((machine["backup_at"], machine["events"]), (None, []))
        for what in ("now", "verify"):
            self.assertEqual(self.ann.send("POST", f"/api/v1/sync/{what}", {}).code, "not_permitted")
            self.assertEqual(self.node.client().send("POST", f"/api/v1/sync/{what}", {}).code, "not_logged_in")

    def test_the_apps_files_come_with_type_tag_and_a_strict_policy(self):
        nobody = self.node.client()
        for path, kind in (("/", "text/html"), ("/app/app.js", "text/javascript"), ("/app/app.css", "text/css"), ("/sw.js", "text/javascript"),
                           ("/app/icon.svg", "image/svg+xml"), ("/pair", "text/html")):
            reply = nobody.get(path)
            self.assertEqual((reply.status, reply.headers["Content-Type"].split(";")[0]), (200, kind), path)
            policy = reply.headers["Content-Security-Policy"]
            self.assertIn("default-src 'none'", policy)
            self.assertNotIn("unsafe", policy)
            self.assertEqual(reply.headers["X-Content-Type-Options"], "nosniff")
            again = nobody.get(path, **{"If-None-Match": reply.headers["ETag"]})
            self.assertEqual((again.status, again.body), (304, b""), path)
        self.assertEqual(nobody.get("/app/nothing.js").code, "not_found")
        self.assertNotIn(b"@EVERWARD_BUILD@", nobody.get("/sw.js").body)
        nobody.close()


if __name__ == "__main__":
    unittest.main()
