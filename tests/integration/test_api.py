"""Rows through the local API: reading, writing, repeating, refusing. The real API on the real store (api_fixture)."""

import json
import threading
import time
import unittest
import uuid

from api_fixture import (ANN, CONFLICT, ORDER, OTHER, PAT, SITE, Node, have_server, row_id)

node = None


def setUpModule():
    global node
    if not have_server():
        raise unittest.SkipTest("api_server is not built")
    node = Node()


def tearDownModule():
    code = node.stop()
    log = node.log()
    node.close()
    if code != 0:
        raise AssertionError(f"api_server ended with {code}: {log[-4000:]}")


class Api(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.ann, cls.bob = node.login("ann"), node.login("bob")

    @classmethod
    def tearDownClass(cls):
        cls.ann.close()
        cls.bob.close()

    def refused(self, reply, status, code):
        self.assertEqual((reply.status, reply.code), (status, code), reply)
        self.assertEqual(reply.headers["Content-Type"], "application/problem+json")
        self.assertEqual(reply.json["request_id"], reply.headers["X-Request-Id"])
        return reply.json

    def seq(self):
        """The number a write gets now: one more each time, if nothing else was written."""
        return int(self.ann.post("observation", self.observation()).json["etag"].strip('"').split(".")[1])

    def observation(self, **more):
        return {"patient_id": PAT, "code": "8867-4", "value_decimal": 72.5, **more}


class Reading(Api):
    def test_a_list_has_its_age_and_pages_that_meet_without_gap_or_repeat(self):
        code = uuid.uuid4().hex
        made = {self.ann.post("observation", self.observation(code=code)).json["id"] for _ in range(25)}
        seen, after, pages = [], "", 0
        while True:
            page = self.ann.get(f"observation?code=eq.{code}&order=-recorded_at&limit=10{after}").json
            self.assertIn("data_as_of", page)
            self.assertIs(page["complete"], True)
            seen += [r["id"] for r in page["items"]]
            pages += 1
            if page["next"] is None:
                break
            after = f"&after={page['next']}"
        self.assertEqual(pages, 3)
        self.assertEqual((len(seen), set(seen)), (25, made))

    def test_filters_find_what_they_say(self):
        for query, ids in (("family_name=eq.Braun", [OTHER]), ("family_name=like.ade*", [PAT]), ("birth_date=is.null", [OTHER]),
                           ("birth_date=not.is.null", [PAT]), ("active=eq.true&order=family_name", [PAT, OTHER]),
                           (f"id=in.({PAT},{OTHER})&order=family_name.desc", [OTHER, PAT]), ("birth_date=lt.1985", [PAT]),
                           ("birth_date=gte.1985", []), ("sex=neq.female&family_name=eq.Adeyemi", [])):
            reply = self.ann.get(f"patient?{query}")
            self.assertEqual([r["id"] for r in reply.json["items"]], ids, (query, reply))

    def test_a_bad_query_is_refused_and_names_what_is_wrong(self):
        for query, column in (("nickname=eq.x", "nickname"), ("family_name=x", "family_name"), ("limit=0", "limit"),
                              ("limit=5000", "limit"), ("order=nickname", "nickname"), ("after=x", "after"),
                              ("active=eq.maybe", "active"), ("birth_date=eq.1985-02-30", "birth_date"), ("select=id", "select")):
            reply = self.ann.get(f"patient?{query}")
            self.assertEqual(reply.status, 400, (query, reply))
            self.assertEqual(reply.json["errors"][0]["column"], column)

    def test_a_cursor_of_another_query_or_a_forged_one_is_refused(self):
        cursor = self.ann.get("patient?limit=1").json["next"]
        self.assertEqual(self.ann.get(f"patient?limit=1&after={cursor}").status, 200)
        for bad in (cursor[:-3], cursor + "A", cursor[::-1], "A" * 3000):
            reply = self.ann.get(f"patient?limit=1&after={bad}")
            self.assertEqual(reply.status, 400, (bad, reply))
        self.assertEqual(self.ann.get(f"patient?limit=1&order=family_name&after={cursor}").status, 400)
        self.assertEqual(self.ann.get(f"task?after={cursor}").status, 400)

    def test_hidden_columns_are_not_shown_and_not_askable(self):
        page = self.ann.get("staff").json
        self.assertTrue(page["items"])
        for row in page["items"]:
            self.assertNotIn("verifier", row)
            self.assertNotIn("badge", row)
        self.assertEqual(self.ann.get("staff?verifier=like.$argon*").status, 400)
        self.assertEqual(self.ann.get("staff?order=verifier").status, 400)
        self.assertNotIn(b"argon2id", self.ann.get("staff").body)

    def test_a_row_has_an_etag_and_is_not_sent_twice(self):
        first = self.ann.get(f"patient/{PAT}")
        self.assertEqual(first.headers["ETag"], first.json["etag"])
        again = self.ann.get(f"patient/{PAT}", **{"If-None-Match": first.headers["ETag"]})
        self.assertEqual((again.status, again.body), (304, b""))
        self.assertEqual(self.ann.get(f"patient/{PAT}", **{"If-None-Match": "\"9.9\""}).status, 200)

    def test_what_is_not_there_is_not_found(self):
        self.refused(self.ann.get(f"patient/{row_id(999999)}"), 404, "not_found")
        self.refused(self.ann.get("patient/1"), 400, "invalid_id")
        self.refused(self.bob.get("nonsense"), 404, "unknown_table")
        self.refused(self.bob.get("audit_event"), 404, "unknown_table")
        self.refused(self.bob.get("_meta"), 404, "unknown_table")
        self.refused(self.bob.get("node_session"), 404, "unknown_table")
        self.assertEqual(self.ann.get("/api/v2/patient").status, 404)

    def test_the_history_tells_what_was_written_here(self):
        row = self.ann.post("task", {"patient_id": PAT, "status": "ready", "description": "weigh"}).json
        self.ann.patch(f"task/{row['id']}", {"description": "weigh again"}, row["etag"])
        items = self.ann.get(f"task/{row['id']}/history").json["items"]
        self.assertEqual([i["op"] for i in items], ["update", "create"])
        self.assertEqual(items[0]["values"], {"description": "weigh again"})
        self.assertEqual((items[0]["by"], items[0]["outcome"]), (ANN, "pending"))
        self.refused(self.ann.get(f"task/{row_id(999998)}/history"), 404, "not_found")

    def test_every_reply_carries_age_request_id_and_safe_headers(self):
        for path in ("patient", f"patient/{PAT}", "sync", "/readyz", "/openapi.json", "/trust"):
            reply = self.ann.get(path)
            for name in ("Data-As-Of", "X-Request-Id", "Content-Security-Policy"):
                self.assertIn(name, reply.headers, path)
            self.assertEqual(reply.headers["Cache-Control"], "no-store")
            self.assertEqual(reply.headers["X-Content-Type-Options"], "nosniff")
            self.assertNotIn("Access-Control-Allow-Origin", reply.headers)

    def test_the_chart_has_what_the_ward_needs(self):
        code = uuid.uuid4().hex
        now = time.gmtime(time.time() + 3600)
        for n in range(3):
            self.ann.post("observation", self.observation(code=code, value_decimal=f"7{n}.10", effective_at=f"2026-01-01T0{n}:00:00Z"))
        slot = self.bob.post("dose_slot", {"order_id": ORDER, "patient_id": PAT, "due_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", now)}).json
        self.ann.post("allergy", {"patient_id": PAT, "kind": "allergy", "display": "Penicillin"})
        chart = self.ann.get(f"patients/{PAT}/chart").json
        self.assertEqual(chart["patient"]["id"], PAT)
        self.assertEqual([o["state"] for o in chart["orders"] if o["row"]["id"] == ORDER], ["active"])
        vital = next(v for v in chart["vitals"] if v["code"] == code)
        self.assertEqual(vital["last"]["value_decimal"], "72.10")
        self.assertEqual([t["value"] for t in vital["trend"]], ["70.10", "71.10", "72.10"])
        self.assertIn(slot["id"], [d["slot"]["id"] for d in chart["due"]])
        self.assertIn("Penicillin", [a["display"] for a in chart["allergies"]])
        self.assertEqual([c["id"] for c in chart["conflicts"]], [CONFLICT])
        self.assertEqual(chart["allergies"][0]["sync"], "pending")
        self.refused(self.ann.get(f"patients/{row_id(999997)}/chart"), 404, "not_found")

    def test_a_stopped_order_leaves_the_chart_and_its_doses_too(self):
        order = self.bob.post("medication_order", {"patient_id": OTHER, "status": "active", "display": "Insulin"}).json
        due = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 600))
        self.bob.post("dose_slot", {"order_id": order["id"], "patient_id": OTHER, "due_at": due})
        chart = self.ann.get(f"patients/{OTHER}/chart").json
        self.assertEqual((len(chart["orders"]), len(chart["due"])), (1, 1))
        for action, state in (("hold", "on-hold"), ("resume", "active")):
            self.bob.post("order_event", {"order_id": order["id"], "patient_id": OTHER, "action": action})
            self.assertEqual([o["state"] for o in self.ann.get(f"patients/{OTHER}/chart").json["orders"]], [state])
        self.bob.post("order_event", {"order_id": order["id"], "patient_id": OTHER, "action": "stop"})
        chart = self.ann.get(f"patients/{OTHER}/chart").json
        self.assertEqual((chart["orders"], chart["due"]), ([], []))

    def test_a_section_that_is_not_permitted_is_null_and_named(self):
        chart = node.login("dora").get(f"patients/{PAT}/chart").json
        self.assertIsNone(chart["vitals"])
        self.assertIsNone(chart["allergies"])
        self.assertIn("observation", chart["not_permitted"])


class Writing(Api):
    def test_a_new_row_is_answered_with_place_version_and_what_the_node_filled_in(self):
        reply = self.ann.post("observation", self.observation())
        self.assertEqual(reply.status, 201, reply)
        row = reply.json
        self.assertEqual(reply.headers["Location"], f"/api/v1/observation/{row['id']}")
        self.assertEqual(reply.headers["ETag"], row["etag"])
        self.assertEqual((row["sync"], row["rev"], row["recorded_by"], row["source"], row["site_id"]), ("pending", 0, ANN, "live", SITE))
        self.assertEqual(row["recorded_at"], row["effective_at"])
        self.assertEqual(self.ann.get(reply.headers["Location"]).json, row)

    def test_exact_digits_and_offsets_come_back_byte_for_byte(self):
        raw = json.dumps(self.observation(effective_at="2026-02-28T23:59:60.10-05:30", value_json={"a": 1})).replace(
            "72.5", "173.93014137598118000").replace('{"a": 1}', '{"a":1.10,"big":123456789012345678901234567890}')
        reply = self.ann.send("POST", "/api/v1/observation", raw=raw.encode(), headers={"Idempotency-Key": str(uuid.uuid4())})
        self.assertEqual(reply.json["value_decimal"], "173.93014137598118000")
        self.assertEqual(reply.json["effective_at"], "2026-02-28T23:59:60.10-05:30")
        self.assertIn(b'{"a":1.10,"big":123456789012345678901234567890}', reply.body)
        self.assertIn(b'{"a":1.10,"big":123456789012345678901234567890}', self.ann.get(reply.headers["Location"]).body)

    def test_the_client_may_choose_the_id_once(self):
        mine = f"0192f0e8-{uuid.uuid4().hex[:4]}-7000-8000-{uuid.uuid4().hex[:12]}"
        self.assertEqual(self.ann.post("observation", self.observation(id=mine)).json["id"], mine)
        self.refused(self.ann.post("observation", self.observation(id=mine)), 409, "exists")
        for bad in (str(uuid.uuid4()), "x", 7, None):
            self.refused(self.ann.post("observation", self.observation(id=bad)), 422, "invalid_id")

    def test_bad_values_are_refused_by_column_and_nothing_is_written(self):
        before = self.seq()
        for change, code, column in (
                ({"value_decimal": "much"}, "invalid_value", "value_decimal"), ({"value_decimal": 1e400}, "bad_json", None),
                ({"patient_id": None}, "invalid_value", "patient_id"), ({"patient_id": "x"}, "invalid_value", "patient_id"),
                ({"nickname": "x"}, "unknown_column", "nickname"), ({"tenant_id": "x"}, "unknown_column", "tenant_id"),
                ({"recorded_by": ANN}, "set_by_node", "recorded_by"), ({"recorded_at": "2020"}, "set_by_node", "recorded_at"),
                ({"source": "dream"}, "invalid_value", "source"), ({"effective_at": "today"}, "invalid_value", "effective_at"),
                ({"rev": 9}, "read_only_column", "rev"), ({"display": {"a": 1}}, "invalid_value", "display"),
                ({"display": "x" * 300000}, "invalid_value", "display")):
            reply = self.ann.post("observation", self.observation(**change))
            self.assertIn(reply.status, (400, 422), (change, reply))
            self.assertEqual(reply.code, code, (str(change)[:80], reply))
            if column:
                self.assertEqual(reply.json["errors"][0]["column"], column)
        self.refused(self.ann.post("observation", {"patient_id": PAT}), 422, "missing_value")
        self.assertEqual(self.seq(), before + 1)

    def test_hostile_bodies_are_refused(self):
        for raw, status in ((b"", 400), (b"{", 400), (b"[]", 400), (b"null", 400), (b'{"a":1,"a":2}', 400), (b"\xff\xfe", 400),
                            (b"{" * 100000, 400), (b'{"code":"\\ud800"}', 400), (b'{"code":"a\\u0000b"}', 400), (b"x" * (1024 * 1024 + 1), 413)):
            reply = self.ann.send("POST", "/api/v1/observation", raw=raw, headers={"Idempotency-Key": str(uuid.uuid4())})
            self.assertEqual(reply.status, status, (raw[:40], reply))
        reply = self.ann.send("POST", "/api/v1/observation", raw=b"{}",
                              headers={"Idempotency-Key": "k", "Content-Type": "text/plain"})
        self.refused(reply, 415, "unsupported_media_type")
        self.assertEqual(self.ann.get("/readyz").status, 200)

    def test_an_update_needs_the_version_that_was_seen(self):
        row = self.ann.post("task", {"patient_id": PAT, "status": "ready"}).json
        path = f"task/{row['id']}"
        self.refused(self.ann.send("PATCH", f"/api/v1/{path}", {"note": "x"}), 428, "version_required")
        for bad in ("*", "1", "W/" + row["etag"], "\"x\""):
            self.refused(self.ann.patch(path, {"note": "x"}, bad), 400, "bad_version")
        changed = self.ann.patch(path, {"note": "first"}, row["etag"])
        self.assertEqual((changed.status, changed.json["note"], changed.headers["ETag"]), (200, "first", changed.json["etag"]))
        stale = self.ann.patch(path, {"note": "second"}, row["etag"])
        self.assertEqual(self.refused(stale, 412, "stale_version")["current"], changed.json)
        self.refused(self.ann.patch(f"task/{row_id(999996)}", {"note": "x"}, row["etag"]), 404, "not_found")
        self.refused(self.ann.patch(path, {}, changed.json["etag"]), 422, "nothing_to_do")

    def test_facts_are_not_changed_and_only_drafts_are_deleted(self):
        row = self.ann.post("observation", self.observation()).json
        self.refused(self.bob.patch(f"observation/{row['id']}", {"code": "x"}, row["etag"]), 403, "fact")
        self.refused(self.bob.delete(f"observation/{row['id']}", row["etag"]), 403, "not_deletable")
        task = self.ann.post("task", {"patient_id": PAT}).json
        self.refused(self.ann.send("DELETE", f"/api/v1/task/{task['id']}"), 428, "version_required")
        self.refused(self.ann.delete(f"task/{task['id']}", "\"9.9\""), 412, "stale_version")
        self.assertEqual(self.ann.delete(f"task/{task['id']}", task["etag"]).json["deleted"], True)
        self.refused(self.ann.get(f"task/{task['id']}"), 404, "not_found")

    def test_what_belongs_to_the_centre_is_not_written_here(self):
        self.refused(self.bob.post("staff", {"username": "x"}), 403, "read_only")
        self.refused(self.bob.post("conflict", {"table_name": "patient"}), 403, "read_only")
        self.refused(self.bob.post("conflict_resolution", {"conflict_id": CONFLICT, "choice": "live"}), 403, "read_only")
        self.refused(self.bob.post("audit_event", {}), 404, "unknown_table")

    def test_roles_decide_and_what_is_not_named_is_denied(self):
        dora = node.login("dora")
        self.refused(dora.get("observation"), 403, "not_permitted")
        self.refused(dora.get("nonsense"), 403, "not_permitted")
        self.refused(dora.post("observation", self.observation()), 403, "not_permitted")
        self.refused(self.ann.post("medication_order", {"patient_id": PAT}), 403, "not_permitted")
        self.refused(self.ann.patch(f"allergy/{PAT}", {"display": "x"}, "\"1.0\""), 403, "not_permitted")
        self.refused(self.ann.delete(f"note/{PAT}", "\"1.0\""), 403, "not_permitted")


class Repeating(Api):
    def test_a_write_needs_a_key_of_visible_ascii(self):
        self.refused(self.ann.send("POST", "/api/v1/observation", self.observation()), 400, "idempotency_key_required")
        for bad in (" ", "a b", "x" * 256, "\x7f"):
            reply = self.ann.post("observation", self.observation(), key=bad)
            self.assertEqual(reply.status, 400, (bad, reply))

    def test_the_same_request_again_gets_the_same_answer_and_writes_once(self):
        key = str(uuid.uuid4())
        first = self.ann.post("observation", self.observation(), key=key)
        before = self.seq()
        again = self.ann.post("observation", self.observation(), key=key)
        self.assertEqual((again.status, again.body, again.headers["ETag"], again.headers["Location"]),
                         (201, first.body, first.headers["ETag"], first.headers["Location"]))
        self.assertEqual(again.headers["Idempotency-Replayed"], "true")
        self.assertEqual(self.seq(), before + 1)

    def test_a_key_belongs_to_one_request_and_to_one_person(self):
        key = str(uuid.uuid4())
        first = self.ann.post("observation", self.observation(), key=key).json
        self.refused(self.ann.post("observation", self.observation(code="other"), key=key), 422, "idempotency_key_reused")
        self.refused(self.ann.post("task", {"patient_id": PAT}, key=key), 422, "idempotency_key_reused")
        self.assertNotEqual(self.bob.post("observation", self.observation(), key=key).json["id"], first["id"])

    def test_a_refused_request_does_not_use_up_its_key(self):
        key = str(uuid.uuid4())
        self.assertEqual(self.ann.post("observation", {"patient_id": PAT}, key=key).status, 422)
        self.assertEqual(self.ann.post("observation", self.observation(), key=key).status, 201)

    def test_many_at_once_with_one_key_write_once(self):
        key, answers = str(uuid.uuid4()), []
        clients = [node.client() for _ in range(8)]
        for c in clients:
            c.token = self.ann.token
        threads = [threading.Thread(target=lambda c=c: answers.append(c.post("observation", self.observation(), key=key))) for c in clients]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertTrue({a.status for a in answers} <= {201, 409}, answers)
        self.assertEqual(len({a.json["id"] for a in answers if a.status == 201}), 1)
        self.assertTrue(all(a.code == "request_running" for a in answers if a.status == 409))

    def test_an_update_may_be_repeated_with_a_key(self):
        row, key = self.ann.post("task", {"patient_id": PAT}).json, str(uuid.uuid4())
        first = self.ann.patch(f"task/{row['id']}", {"note": "x"}, row["etag"], **{"Idempotency-Key": key})
        again = self.ann.patch(f"task/{row['id']}", {"note": "x"}, row["etag"], **{"Idempotency-Key": key})
        self.assertEqual((first.status, again.status, again.body), (200, 200, first.body))


class Transactions(Api):
    def test_all_writes_are_done_or_none(self):
        task = self.ann.post("task", {"patient_id": PAT, "status": "ready"}).json
        writes = [{"op": "create", "table": "observation", "values": self.observation()},
                  {"op": "update", "table": "task", "id": task["id"], "if_match": task["etag"], "values": {"status": "completed"}}]
        reply = self.ann.post("transaction", {"writes": writes})
        self.assertEqual(reply.status, 200, reply)
        results = reply.json["results"]
        self.assertEqual([r["table"] for r in results], ["observation", "task"])
        self.assertEqual(self.ann.get(f"task/{task['id']}").json["etag"], results[1]["etag"])
        before = self.seq()
        stale = self.ann.post("transaction", {"writes": writes})
        self.assertEqual(self.refused(stale, 412, "stale_version")["index"], 1)
        self.assertEqual(stale.json["current"]["status"], "completed")
        self.assertEqual(self.seq(), before + 1)

    def test_the_refusal_names_the_write(self):
        good = {"op": "create", "table": "observation", "values": self.observation()}
        for bad, status, code in (
                ({"op": "create", "table": "observation", "values": {"patient_id": PAT}}, 422, "missing_value"),
                ({"op": "create", "table": "medication_order", "values": {"patient_id": PAT}}, 403, "not_permitted"),
                ({"op": "update", "table": "task", "id": PAT, "values": {"note": "x"}}, 428, "version_required"),
                ({"op": "update", "table": "task", "id": row_id(999995), "if_match": "\"1.0\"", "values": {"note": "x"}}, 404, "not_found"),
                ({"op": "upsert", "table": "task"}, 400, "bad_write"), ({"op": "create", "table": 7, "values": {}}, 400, "bad_write"),
                ({"op": "delete", "table": "task", "id": PAT, "values": {}}, 400, "bad_write"), (7, 400, "bad_write"),
                ({"op": "create", "table": "task", "values": {}, "hidden": 1}, 400, "bad_write")):
            reply = self.ann.post("transaction", {"writes": [good, bad]})
            self.assertEqual(self.refused(reply, status, code)["index"], 1, bad)
        for body in ({}, {"writes": []}, {"writes": {}}, {"writes": [good] * 501}, {"writes": [good], "more": 1}):
            self.assertEqual(self.ann.post("transaction", body).status, 400, str(body)[:60])

    def test_a_row_made_in_a_transaction_may_be_changed_in_it(self):
        mine = f"0192f0e8-{uuid.uuid4().hex[:4]}-7000-8000-{uuid.uuid4().hex[:12]}"
        reply = self.ann.post("transaction", {"writes": [
            {"op": "create", "table": "task", "id": mine, "values": {"patient_id": PAT}},
            {"op": "update", "table": "task", "id": mine, "values": {"note": "x"}}]})
        self.assertEqual(reply.status, 200, reply)
        self.assertEqual(self.ann.get(f"task/{mine}").json["note"], "x")

    def test_a_transaction_is_repeated_like_any_write(self):
        key, body = str(uuid.uuid4()), {"writes": [{"op": "create", "table": "observation", "values": self.observation()}] * 3}
        first, again = (self.ann.post("transaction", body, key=key) for _ in range(2))
        self.assertEqual((first.status, first.body), (200, again.body))


class Plain(Api):
    def test_health_and_metrics_answer_without_login_and_without_line(self):
        anybody = node.client()
        self.assertEqual(anybody.get("/healthz").json["status"], "ok")
        self.assertEqual(anybody.get("/readyz").status, 200)
        text = anybody.get("/metrics").body.decode()
        self.assertIn("\neverward_pending_changes ", text)
        self.assertIn("everward_request_seconds_count", text)

    def test_trust_shows_the_authority_whose_certificate_it_gives(self):
        import hashlib
        import ssl
        anybody = node.client()
        pem = anybody.get("/trust/ca.crt").body.decode()
        digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest().upper()
        self.assertIn(":".join(digest[i:i + 2] for i in range(0, 64, 2)).encode(), anybody.get("/trust").body)

    def test_sync_says_what_status_says(self):
        status = self.ann.get("sync").json
        for name in ("state", "tenant_id", "node_id", "incarnation", "timeline", "pending", "oldest_pending_at", "last_seq", "acked_seq",
                     "cursor", "head", "quarantined", "conflicts_open", "last_push_at", "last_pull_at", "clock_offset_ms",
                     "catalog_version", "replica_equal", "verified_at"):
            self.assertIn(name, status)

    def test_a_method_that_a_path_does_not_have_is_refused(self):
        for method, path in (("PUT", f"/api/v1/patient/{PAT}"), ("POST", "/healthz"), ("DELETE", "/api/v1/patient")):
            self.assertIn(self.ann.send(method, path).status, (404, 405), (method, path))


class PowerCut(unittest.TestCase):
    def test_everything_answered_is_there_after_a_kill_and_the_stored_reply_is_repeated(self):
        own = Node()
        try:
            ann, key = own.login("ann"), str(uuid.uuid4())
            body = {"patient_id": PAT, "code": "8867-4"}
            first = ann.post("observation", body, key=key)
            made = [ann.post("observation", body).json["id"] for _ in range(50)]
            own.kill()
            own.start()
            ann.close()
            self.assertEqual(ann.get("session").status, 200, "the session outlives the power cut")
            for i in made:
                self.assertEqual(ann.get(f"observation/{i}").json["sync"], "pending")
            again = ann.post("observation", body, key=key)
            self.assertEqual((again.status, again.body), (first.status, first.body))
            last = ann.post("observation", body).json["etag"]
            self.assertEqual(last, "\"0.52\"", "51 writes, none twice")
        finally:
            own.close()


if __name__ == "__main__":
    unittest.main()
