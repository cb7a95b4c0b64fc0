"""
packaging/demolib/story.py - the story of an outage, told in words a nurse understands, on the real programs.
"""
import json
import sys
import time
import uuid

from demolib.client import Tablet
from demolib.compare import Acknowledged, compare, conflicts_open

TENANT, OTHER = "Lakeside Hospital", "Hillcrest Clinic"
NODES = {"Alder": (TENANT, "Alder ward"), "Birch": (TENANT, "Birch ward"), "Cedar": (OTHER, "Cedar practice")}
USER = "nadia.berg"
OFFLINE_WRITES = 40
SEEN_S = 20


class Teller:
    """Prints the steps; on a terminal a counter moves within a line."""

    def __init__(self):
        self.number = 0
        self.terminal = sys.stdout.isatty()

    def step(self, text):
        self.number += 1
        print(f"\n{self.number:2}. {text}", flush=True)

    def say(self, text):
        print(f"    {text}", flush=True)

    def count(self, text, n, of):
        if self.terminal and n < of:
            print(f"\r    {text}: {n} of {of} ", end="", flush=True)
        elif n == of:
            print(("\r" if self.terminal else "") + f"    {text}: {n} of {of} ", flush=True)


class Story:
    def __init__(self, stack, password):
        self.stack = stack
        self.password = password
        self.tell = Teller()
        self.acknowledged = []
        self.tablets = {}
        self.run = uuid.uuid4().hex[:8]

    def tenant_of(self, node):
        return self.stack.facts["tenants"][NODES[node][0]]

    def tablet(self, node):
        port = self.stack.facts["nodes"][node]["port"]
        return Tablet("127.0.0.1", port, self.stack.node_ca(node), USER, self.password)

    def log_in(self):
        self.tell.step("Everyone logs in at the bedside: two wards of one hospital, and a practice that belongs to someone else.")
        for node in NODES:
            self.tablets[node] = self.tablet(node)
            self.tell.say(f"{node}: logged in as {USER}, {self.stack.node_status(node)['state']}")

    def patients(self, node):
        return self.tablets[node].get("/api/v1/patient?active=eq.true&order=family_name&limit=20")["items"]

    def measure(self, node, patient, n):
        """One heart rate; its note of method carries a mark that no other write has."""
        mark = f"demo {self.run} {node} {n}"
        row = self.tablets[node].create("observation", {
            "patient_id": patient["id"], "status": "final", "category": "vital-signs", "code_system": "http://loinc.org",
            "code": "8867-4", "display": "Heart rate", "value_decimal": f"{60 + n % 40}.{n % 10}0", "value_unit": "/min",
            "value_unit_code": "/min", "method": mark})
        self.acknowledged.append(Acknowledged(self.tenant_of(node), "observation", row["id"], "method", mark, True))
        return row

    def change_phone(self, node, patient, phone, stays):
        self.tablets[node].change("patient", patient["id"], {"phone": phone})
        if stays:
            self.acknowledged.append(Acknowledged(self.tenant_of(node), "patient", patient["id"], "phone", phone, False))

    def settle_old_conflicts(self):
        """A second run of the demo finds the first one's open question: someone decides it, at the bedside."""
        for conflict in list(self.tablets["Alder"].all("conflict", state="eq.open")):
            self.tablets["Alder"].request("POST", f"/api/v1/conflicts/{conflict['id']}/resolution",
                                          {"choice": "live", "reason": "asked the patient", "seen_rev": conflict["live_rev"]},
                                          {"Idempotency-Key": str(uuid.uuid4())})
            self.tell.say("an open question of the run before was decided at Alder")
        self.stack.wait_status("Birch", lambda s: s.get("conflicts_open") == 0, SEEN_S, "no open conflict")

    def write_seen_everywhere(self):
        self.tell.step("A heart rate is typed at Alder. Who sees it, and how soon?")
        patient = self.patients("Alder")[0]
        started = time.monotonic()
        row = self.measure("Alder", patient, 1)
        self.tell.say(f"saved at Alder (answered after {1000 * (time.monotonic() - started):.0f} ms)")
        started = time.monotonic()
        while not self.stack.sql(f"SELECT 1 FROM ward.observation WHERE id = '{row['id']}'"):
            if time.monotonic() - started > SEEN_S:
                raise TimeoutError("the heart rate did not reach the centre")
        self.tell.say(f"at the centre after {1000 * (time.monotonic() - started):.0f} ms (looked up by a new database session each time)")
        started = time.monotonic()
        second = self.measure("Alder", patient, 2)
        self.tablets["Birch"].wait_for(f"/api/v1/observation/{second['id']}", SEEN_S)
        self.tell.say(f"a second one: on Birch's tablets after {1000 * (time.monotonic() - started):.0f} ms")
        self.measure("Cedar", self.patients("Cedar")[0], 1)
        self.tell.say("Cedar, the other organisation, sees none of it and works with its own patients")

    def cut_the_line(self):
        self.tell.step("The line to the centre is cut at both wards.")
        for node in ("Alder", "Birch"):
            self.stack.node_command(node, "link", "down")
            self.stack.wait_status(node, lambda s: s.get("state") == "offline", SEEN_S, "\"offline\"")
            self.tell.say(f"{node}: working offline, nothing is lost")

    def work_offline(self):
        self.tell.step("Everybody goes on working: both wards, the other practice, and another program at the centre.")
        self.kept = {node: self.patients(node) for node in ("Alder", "Birch")}
        for n in range(OFFLINE_WRITES):
            for node in ("Alder", "Birch"):
                self.measure(node, self.kept[node][n % len(self.kept[node])], 100 + n)
            self.tell.count("heart rates written at each ward", n + 1, OFFLINE_WRITES)
        self.measure("Cedar", self.patients("Cedar")[0], 2)
        tenant = self.tenant_of("Alder")
        patient = self.kept["Alder"][3]
        street = f"{self.run} Harbour Street"
        self.stack.sql(f"UPDATE ward.patient SET address_line = '{street}' WHERE id = '{patient['id']}'", "everward_app", tenant)
        self.acknowledged.append(Acknowledged(tenant, "patient", patient["id"], "address_line", street, False))
        self.tell.say("the admissions office changed an address with plain SQL at the centre")
        self.change_phone("Alder", patient, f"+49 30 {self.run}", stays=True)
        self.tell.say("Alder changed the same patient's telephone: another field, so both will stand")

    def two_wards_one_field(self):
        self.tell.step("Both wards change one patient's telephone number, without knowing of each other.")
        patient = self.kept["Alder"][5]
        self.contested = patient["id"]
        self.change_phone("Alder", patient, f"A-{self.run}", stays=False)
        self.change_phone("Birch", patient, f"B-{self.run}", stays=False)
        self.tell.say("two numbers for one patient now wait on two wards")

    def kill_a_node(self):
        self.tell.step("The power at Alder fails in the middle of it (kill -9), and comes back. The line is still down.")
        before = self.stack.node_status("Alder")["pending"]
        self.stack.nodes["Alder"].kill()
        self.stack.start_node("Alder")
        after = self.stack.node_status("Alder")
        self.tell.say(f"Alder is back, {after['state']}: {after['pending']} changes wait, {before} had waited before")
        if after["pending"] != before:
            raise AssertionError(f"{before} changes waited before the power cut, {after['pending']} after it")
        self.tablets["Alder"] = self.tablet("Alder")
        mine = [w for w in self.acknowledged if w.tenant == self.tenant_of("Alder") and w.insert and " Alder " in w.value]
        for n, write in enumerate(mine):
            self.tablets["Alder"].get(f"/api/v1/observation/{write.row_id}")
            self.tell.count("acknowledged entries found again at Alder", n + 1, len(mine))

    def line_back(self):
        self.tell.step("The line is back.")
        started = time.monotonic()
        for node in ("Alder", "Birch"):
            self.stack.node_command(node, "link", "up")
        for node in NODES:
            status = self.stack.wait_current(node)
            self.tell.say(f"{node}: up to date, nothing waits (cut {status['cursor']} of {status['head']})")
        heads = {node: self.stack.node_status(node)["head"] for node in ("Alder", "Birch")}
        for node in ("Alder", "Birch"):
            self.stack.wait_status(node, lambda s: s.get("cursor", -1) >= max(heads.values()), SEEN_S, "the last cut")
        self.tell.say(f"everything has come together {time.monotonic() - started:.1f} s after the line came back")

    def show_the_conflict(self):
        self.tell.step("What about the two telephone numbers?")
        for node in ("Alder", "Birch"):
            self.stack.wait_status(node, lambda s: s.get("conflicts_open") == 1, SEEN_S, "one open conflict")
        row = self.tablets["Birch"].get(f"/api/v1/patient/{self.contested}")
        conflict = next(iter(self.tablets["Birch"].all("conflict", state="eq.open")))
        values = sorted(v for side in ("live", "incoming") for v in _json(conflict[side]).values())
        if values != sorted([f"A-{self.run}", f"B-{self.run}"]) or row["sync"] != "contested":
            raise AssertionError(f"the conflict does not hold both numbers: {values}, the row is {row['sync']}")
        self.tell.say(f"{row['phone']} is shown, marked \"{row['sync']}\"; both numbers are kept, on both wards and at the centre")
        self.tell.say("until a person decides; nobody's entry was overwritten")

    def verify(self):
        self.tell.step("Is every copy the same? Each node compares itself with the centre.")
        for node in NODES:
            p = self.stack.node_command(node, "verify", check=False)
            status = self.stack.node_status(node)
            self.tell.say(f"{node}: replica equal to the centre: {status['replica_equal']}")
            if p.returncode != 0 or status["replica_equal"] is not True:
                raise AssertionError(f"{node} does not equal the centre: {p.stdout}{p.stderr}")

    def judge(self):
        self.tell.step(f"The {len(self.acknowledged)} acknowledged entries are looked up at the centre and on every node.")
        tablets = {node: (self.tenant_of(node), self.tablets[node]) for node in NODES}
        counts = compare(self.stack, self.acknowledged, tablets, self.tell.say)
        open_now = conflicts_open(self.stack, tablets)
        good = open_now == 1 and not any(counts.values())
        return good, " ".join(f"{k}={v}" for k, v in counts.items()) + f" conflicts_open={open_now}"

    def play(self):
        self.log_in()
        self.settle_old_conflicts()
        self.write_seen_everywhere()
        self.cut_the_line()
        self.work_offline()
        self.two_wards_one_field()
        self.kill_a_node()
        self.line_back()
        self.show_the_conflict()
        self.verify()
        return self.judge()


def _json(value):
    return json.loads(value) if isinstance(value, str) else value
