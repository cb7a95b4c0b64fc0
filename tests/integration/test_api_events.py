"""What changes, as it changes: the event stream."""

import time
import unittest
import uuid

from api_fixture import ANN, ORDER, OTHER, PAT, Events, Node, base_rows, have_server, row_id


class Streams(unittest.TestCase):
    def setUp(self):
        if not have_server():
            self.skipTest("api_server is not built")
        self.node = Node()
        self.ann, self.bob = self.node.login("ann"), self.node.login("bob")
        self.open = []

    def tearDown(self):
        for e in self.open:
            e.close()
        self.ann.close()
        self.bob.close()
        self.node.close()

    def events(self, query="", last_id=None, who=None):
        e = Events(who or self.ann, query, last_id)
        self.open.append(e)
        return e

    def write(self, table="observation", who=None, **more):
        return (who or self.ann).post(table, {"patient_id": PAT, "code": "1", **more} if table == "observation" else more).json

    def test_a_write_at_one_tablet_appears_at_another(self):
        stream = self.events()
        row = self.write()
        event = stream.wait(lambda e: e[1] == "row" and e[2]["id"] == row["id"])
        self.assertEqual(event[2], {"table": "observation", "id": row["id"], "patient_id": PAT, "op": "create", "sync": "pending", "local": True})

    def test_what_the_centre_sends_appears_with_its_state(self):
        stream = self.events("?tables=patient")
        self.node.feed([("u", "patient", {**base_rows()["patient"][1], "rev": 2, "city": "Oslo"})])
        event = stream.wait(lambda e: e[1] == "row")
        self.assertEqual((event[2]["id"], event[2]["local"], event[2]["sync"]), (OTHER, False, "acknowledged"))

    def test_filters_by_table_and_patient_hold(self):
        tasks, other = self.events("?tables=task,note"), self.events(f"?patient_id={OTHER}")
        self.write()
        task = self.write("task", patient_id=PAT)
        mine = self.write(patient_id=OTHER)
        self.assertEqual(tasks.wait(lambda e: e[1] == "row")[2]["id"], task["id"])
        self.assertEqual(other.wait(lambda e: e[1] == "row")[2]["id"], mine["id"])

    def test_what_one_may_not_read_is_not_told(self):
        dora = self.node.login("dora")
        stream = self.events(who=dora)
        self.write()
        self.ann.patch(f"patient/{PAT}", {"city": "Oslo"}, self.ann.get(f"patient/{PAT}").json["etag"])
        self.assertEqual(stream.wait(lambda e: e[1] == "row")[2]["table"], "patient")
        refused = Events(dora, "?tables=observation")
        self.assertEqual(refused.reply.status, 403)
        dora.close()

    def test_a_stream_goes_on_where_it_was(self):
        first = self.events()
        one = self.write()
        last = first.wait(lambda e: e[1] == "row" and e[2]["id"] == one["id"])[0]
        first.close()
        two, three = self.write(), self.write()
        again = self.events(last_id=last)
        again.wait(lambda e: e[1] == "row" and e[2]["id"] == three["id"])
        self.assertEqual([e[2]["id"] for e in again.seen if e[1] == "row"], [two["id"], three["id"]])
        self.assertIsNone(next((e for e in again.seen if e[1] == "reset"), None))

    def test_what_cannot_be_resumed_gets_a_reset(self):
        stream = self.events()
        row = self.write()
        last = stream.wait(lambda e: e[1] == "row" and e[2]["id"] == row["id"])[0]
        boot = last.split(".")[0]
        for bad in ("x", "1", "00000000.1", f"{boot}.999999", f"{boot}.-1", f"{boot}.", "9" * 300):
            self.assertIsNotNone(self.events(last_id=bad).wait(lambda e: e[1] == "reset"), bad)
        self.ann.post("transaction", {"writes": [{"op": "create", "table": "observation", "values": {"patient_id": PAT, "code": "1"}}] * 500})
        end = self.write()
        stream.wait(lambda e: e[1] == "row" and e[2]["id"] == end["id"])  # or it was dropped: it is 500 events behind
        again = self.events(last_id=last)
        self.assertIsNotNone(again.wait(lambda e: e[1] == "reset"), "further behind than a stream's queue")

    def test_a_row_that_leaves_a_status_filter_is_told(self):
        task = self.write("task", patient_id=PAT, status="ready")
        stream = self.events("?tables=task&status=ready,in-progress")
        self.ann.patch(f"task/{task['id']}", {"status": "completed"}, task["etag"])
        self.assertEqual(stream.wait(lambda e: e[1] == "left")[2], {"table": "task", "id": task["id"]})

    def test_a_stopped_order_leaves(self):
        stream = self.events("?tables=medication_order")
        self.bob.post("order_event", {"order_id": ORDER, "patient_id": PAT, "action": "stop"})
        self.assertEqual(stream.wait(lambda e: e[1] == "left")[2], {"table": "medication_order", "id": ORDER})

    def test_logging_out_ends_the_stream(self):
        zoe = self.node.login("zoë")
        stream = self.events(who=zoe)
        zoe.send("DELETE", "/api/v1/session")
        stream.wait(lambda e: False, seconds=10)
        self.assertTrue(stream.ended)
        zoe.close()

    def test_bad_filters_are_refused(self):
        for query in ("?tables=", "?tables=nonsense", "?patient_id=x", "?limit=3", "?tables=" + ",".join(["task"] * 40), "?status=,"):
            self.assertEqual(Events(self.ann, query).reply.status, 400, query)

    def test_clients_that_vanish_or_never_read_do_no_harm(self):
        for _ in range(20):
            Events(self.ann).socket.close()
        for _ in range(50):
            self.write()
        self.assertEqual(self.ann.get("/readyz").status, 200)

    def test_a_flood_from_the_centre_is_not_lost_silently(self):
        stream = self.events("?tables=observation")
        rows = [("i", "observation", {"id": row_id(10_000 + n), "patient_id": PAT, "code": "1"}) for n in range(2000)]
        self.node.feed(rows)
        last = rows[-1][2]["id"]
        stream.wait(lambda e: e[1] == "reset" or (e[1] == "row" and e[2]["id"] == last) or False, seconds=15)
        got = {e[2]["id"] for e in stream.seen if e[1] == "row"}
        complete = len(got) == 2000
        reset = any(e[1] == "reset" for e in stream.seen)
        self.assertTrue(complete or reset or stream.ended, "either everything, or a reset, or a stream that ends and resumes")


if __name__ == "__main__":
    unittest.main()
