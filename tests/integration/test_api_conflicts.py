"""The conflict desk: what two people changed, and a decision that works offline."""

import unittest
import uuid

from api_fixture import ANN, BOB, CONFLICT, PAT, Node, base_rows, have_server, row_id


class Conflicts(unittest.TestCase):
    def setUp(self):
        if not have_server():
            self.skipTest("api_server is not built")
        self.node = Node()
        self.ann, self.bob = self.node.login("ann"), self.node.login("bob")

    def tearDown(self):
        self.ann.close()
        self.bob.close()
        self.node.close()

    def written(self):
        """How many changes were written before this."""
        return int(self.ann.post("observation", {"patient_id": PAT, "code": "1"}).json["etag"].strip('"').split(".")[1]) - 1

    def decide(self, body, who=None, key=None, **headers):
        return (who or self.bob).post(f"conflicts/{CONFLICT}/resolution", body, key=key, **headers)

    def test_a_conflict_shows_both_values_who_and_the_rule(self):
        item = self.ann.get("conflicts").json["items"][0]
        self.assertEqual((item["state"], item["columns"], item["base"], item["live"], item["incoming"], item["now"]),
                         ("open", ["phone"], {"phone": "000"}, {"phone": "111"}, {"phone": "222"}, {"phone": "111"}))
        self.assertEqual((item["live_by"], item["live_by_name"], item["incoming_by_name"]), (ANN, "Ann Berg", "Bob Berg"))
        self.assertIn("until a person chooses", item["rule_text"])
        self.assertEqual((item["decide_role"], item["row"]["rev"], item["row"]["sync"]), ("registrar", 3, "contested"))
        self.assertEqual(self.ann.get(f"conflicts/{CONFLICT}").json, item)
        self.assertEqual(self.ann.get(f"patient/{PAT}/conflicts").json["items"], [item])
        self.assertEqual(self.ann.get("conflicts?state=eq.resolved").json["items"], [])
        self.assertEqual(self.ann.get("conflicts?state=maybe").status, 400)

    def test_a_decision_offline_is_one_fact_and_one_edit_and_stands_as_resolving(self):
        key = str(uuid.uuid4())
        body = {"choice": "incoming", "reason": "asked her", "seen_rev": 3}
        reply = self.decide(body, key=key)
        self.assertEqual((reply.status, reply.json["state"], reply.json["resolution"]["choice"]), (201, "resolving", "incoming"), reply)
        self.assertEqual(self.ann.get(f"patient/{PAT}").json["phone"], "222")
        self.assertEqual(self.written(), 2)
        fact = self.ann.get(f"conflict_resolution?conflict_id=eq.{CONFLICT}").json["items"]
        self.assertEqual([(f["choice"], f["reason"], f["seen_rev"], f["recorded_by"]) for f in fact], [("incoming", "asked her", 3, BOB)])
        self.assertEqual(self.decide(body, key=key).body, reply.body, "the stored reply is repeated")
        again = self.decide({"choice": "live", "seen_rev": 3})
        self.assertEqual((again.status, again.code), (409, "already_resolving"))

    def test_the_centres_row_closes_it(self):
        self.decide({"choice": "live", "seen_rev": 3})
        row = base_rows()["conflict"][0]
        self.node.feed([("u", "conflict", {**row, "rev": 2, "state": "resolved", "resolved_by": BOB})])
        self.assertEqual(self.ann.get(f"conflicts/{CONFLICT}").json["state"], "resolved")
        self.assertEqual(self.decide({"choice": "live", "seen_rev": 3}).code, "already_resolved")

    def test_live_writes_the_fact_alone(self):
        self.assertEqual(self.decide({"choice": "live", "seen_rev": 3}).status, 201)
        self.assertEqual(self.written(), 1)
        self.assertEqual(self.ann.get(f"patient/{PAT}").json["phone"], "111")

    def test_base_and_other_values_can_be_chosen(self):
        self.assertEqual(self.decide({"choice": "other", "values": {"phone": "333"}, "seen_rev": 3}).status, 201)
        self.assertEqual(self.ann.get(f"patient/{PAT}").json["phone"], "333")

    def test_a_row_that_moved_in_the_contested_column_is_looked_at_again(self):
        row = self.ann.get(f"patient/{PAT}").json
        self.ann.patch(f"patient/{PAT}", {"phone": "444"}, row["etag"])
        for seen in (3, 2, 99):
            reply = self.decide({"choice": "incoming", "seen_rev": seen})
            self.assertEqual((reply.status, reply.json.get("current", {}).get("phone")), (412, "444"), reply)
        self.assertEqual(self.written(), 1, "nothing was written")
        etag = self.ann.get(f"patient/{PAT}").json["etag"]
        self.assertEqual(self.decide({"choice": "incoming", "seen_rev": 3}, **{"If-Match": etag}).status, 201)

    def test_a_row_that_moved_elsewhere_can_still_be_decided(self):
        row = self.ann.get(f"patient/{PAT}").json
        self.ann.patch(f"patient/{PAT}", {"city": "Bergen"}, row["etag"])
        self.assertEqual(self.decide({"choice": "incoming", "seen_rev": 3}).status, 201)
        now = self.ann.get(f"patient/{PAT}").json
        self.assertEqual((now["phone"], now["city"]), ("222", "Bergen"))

    def test_bad_decisions_are_refused_and_write_nothing(self):
        for body, status in (({}, 422), ({"choice": "mine", "seen_rev": 3}, 422), ({"choice": "live"}, 422),
                             ({"choice": "other", "seen_rev": 3}, 422), ({"choice": "live", "seen_rev": "x"}, 422),
                             ({"choice": "live", "values": {"phone": "1"}, "seen_rev": 3}, 422),
                             ({"choice": "other", "values": {"family_name": "X"}, "seen_rev": 3}, 422),
                             ({"choice": "other", "values": {"phone": 7}, "seen_rev": 3}, 422),
                             ({"choice": "other", "values": {}, "seen_rev": 3}, 422),
                             ({"choice": "live", "seen_rev": 3, "state": "resolved"}, 422), ({"choice": "live", "seen_rev": 2}, 412)):
            reply = self.decide(body)
            self.assertEqual(reply.status, status, (body, reply))
        self.assertEqual(self.bob.post(f"conflicts/{row_id(999)}/resolution", {"choice": "live", "seen_rev": 3}).status, 404)
        self.assertEqual(self.bob.send("POST", f"/api/v1/conflicts/{CONFLICT}/resolution", {"choice": "live", "seen_rev": 3}).status, 400)
        self.assertEqual(self.written(), 0)

    def test_deciding_needs_the_right_to_resolve_and_to_change_the_row(self):
        dora = self.node.login("dora")
        self.assertEqual(self.decide({"choice": "live", "seen_rev": 3}, self.ann).code, "not_permitted")
        self.assertEqual(self.decide({"choice": "incoming", "seen_rev": 3}, dora).code, "not_permitted")
        self.assertEqual(self.decide({"choice": "live", "seen_rev": 3}, dora).status, 201)
        dora.close()

    def test_a_conflict_of_a_table_one_may_not_read_is_not_shown(self):
        row = {**base_rows()["conflict"][0], "id": row_id(101), "table_name": "note", "row_id": row_id(102)}
        self.node.feed([("i", "conflict", row)])
        dora = self.node.login("dora")
        self.assertEqual([c["id"] for c in dora.get("conflicts").json["items"]], [CONFLICT])
        self.assertEqual(dora.get(f"conflicts/{row_id(101)}").status, 404)
        self.assertIsNone(dora.get(f"conflict/{row_id(101)}").json["live"])
        self.assertEqual(len(self.ann.get("conflicts").json["items"]), 2)
        dora.close()


if __name__ == "__main__":
    unittest.main()
