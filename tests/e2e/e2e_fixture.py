"""A real browser against a real node, gateway and PostgreSQL.

    world = World("ward.mjs")           # stack with a synthetic hospital, two nodes, chromium
    world.run("scenario")               # a function exported by that file; raises AssertionError with its stack
    world.close()

EVERWARD_BUILD names the build folder; screenshots go to build/e2e.
"""

import datetime
import filecmp
import json
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(1, os.path.join(ROOT, "tests", "integration"))

import stack  # noqa: E402

ARTEFACTS = os.path.join(ROOT, "build", "e2e")
NEEDS = ("node", "npm", "chromium", "certutil")
TENANT = "Lakeside"
ANSWER_S = 90


def missing():
    """What a test in a browser lacks here; "" if nothing."""
    if not stack.built():
        return "everward is not built"
    gone = [n for n in NEEDS if not shutil.which(n)]
    return f"{', '.join(gone)}: packaging/install-deps test" if gone else ""


def modules():
    """node_modules as the lock file says; no browser is downloaded."""
    lock, mark = (os.path.join(HERE, n) for n in ("package-lock.json", os.path.join("node_modules", ".everward-lock")))
    if os.path.exists(mark) and filecmp.cmp(lock, mark, shallow=False):
        return
    done = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=HERE, capture_output=True, text=True,
                          timeout=180, env={**os.environ, "PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD": "1"})
    if done.returncode != 0:
        raise RuntimeError(f"npm ci: {done.stderr[-2000:]}")
    shutil.copyfile(lock, mark)


def hospital(s, patients=60, wards=2, more=()):
    folder = os.path.join(s.folder, "fhir")
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0).isoformat()
    subprocess.run([os.path.join(ROOT, "packaging", "synthetic-hospital"), "--seed", "7", "--patients", str(patients), "--wards", str(wards),
                    "--days", "1", "--until", now, "--out", folder, "--quiet", *more], check=True)
    s.gateway.cli("import", "fhir", folder, "--tenant", TENANT)


class World:
    def __init__(self, scenarios, nodes=("Alder", "Birch"), training=False, **size):
        modules()
        os.makedirs(ARTEFACTS, exist_ok=True)
        self.stack = stack.Stack().start()
        self.process = None
        try:
            self.stack.tenant(TENANT)
            hospital(self.stack, **size)
            self.nodes = {n: self.stack.node(n, TENANT) for n in nodes}
            practice = self.stack.training("Practice") if training else None
            served = [*self.nodes.values(), *([practice] if practice else [])]
            self.process = subprocess.Popen(["node", os.path.join(HERE, "driver.mjs")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            text=True, cwd=HERE)
            self.tell({"scenarios": scenarios, "artefacts": ARTEFACTS, "user": stack.USER, "password": stack.PASSWORD,
                       "cas": [os.path.join(n.state, "tls", "ca.crt") for n in served],
                       "practice": practice and practice.password,
                       "nodes": {n.name: f"https://127.0.0.1:{n.port}" for n in served}})
            self.listen()
        except BaseException:
            self.close()
            raise

    def tell(self, what):
        print(json.dumps(what), file=self.process.stdin, flush=True)

    def listen(self):
        """Answers what the scenario asks for, until it is done."""
        while True:
            line = self.process.stdout.readline()
            if not line:
                raise AssertionError("the driver of the browser ended")
            said = json.loads(line)
            if "ask" not in said:
                return said
            try:
                self.tell({"value": getattr(self, "do_" + said["ask"])(**said["args"])})
            except Exception as e:  # noqa: BLE001 - the scenario fails with it
                self.tell({"error": f"{type(e).__name__}: {e}"})

    def run(self, scenario):
        self.tell({"run": scenario})
        said = self.listen()
        if "failed" in said:
            for node in self.nodes.values():  # one failure shall not be three
                if node.process is not None:
                    node.link("up")
            raise AssertionError(said["failed"])

    def do_link(self, node, to):
        self.nodes[node].link(to)

    def do_status(self, node):
        return self.nodes[node].status()

    def do_wait_current(self, node):
        return self.nodes[node].wait_current()

    def do_stop(self, node):
        self.nodes[node].stop()

    def do_start(self, node):
        self.nodes[node].start()

    def do_count(self, table):
        return int(self.stack.as_app(TENANT, f"SELECT count(*) FROM ward.{table}")[0][0])

    def do_conflict(self, column, one, two):
        """Both nodes change one patient's column while their lines are down; the patient's id."""
        nodes = list(self.nodes.values())
        patient = next(nodes[0].new_tablet().all("patient"))["id"]
        for node in nodes:
            node.link("down")
        for node, value in zip(nodes, (one, two)):
            node.new_tablet().change("patient", patient, {column: value})
        for node in nodes:
            node.link("up")
            node.wait(lambda s: s["pending"] == 0)
        for node in nodes:
            node.wait(lambda s: s["conflicts_open"] == 1)
        return patient

    def do_pairing(self, node):
        """A code for a new tablet."""
        return self.nodes[node].new_tablet().request("POST", "/api/v1/devices/pairing", {"name": "Bed 4", "class": "tablet"})[0]["code"]

    def do_newest(self, table="observation"):
        """Source, who did it, who entered it, and when it was, of the newest row at the centre that a person entered."""
        return self.stack.as_app(TENANT, "SELECT source, performed_by, recorded_by, effective_at::text "
                                 f"FROM ward.{table} WHERE source <> 'interface' ORDER BY recorded_at::text DESC LIMIT 1")

    def do_ward_nurse(self, node, username):
        """A nurse who sees the patients of one ward, as a hospital may say; the id of a patient who lies in another."""
        s = self.stack
        s.as_app(TENANT, "INSERT INTO ward.role_permission (id, tenant_id, role, table_name, actions) SELECT gen_random_uuid(), tenant_id, 'ward_nurse', "
                         "table_name, CASE WHEN table_name IN ('location', 'staff') THEN actions ELSE replace(actions, 'read', 'read:ward') END "
                         "FROM ward.role_permission WHERE role = 'nurse'")
        s.gateway.cli("staff", "add", "--tenant", TENANT, "--username", username, "--name", "Pia Wold", "--role", "ward_nurse",
                      "--password-file", "-", input=stack.PASSWORD + "\n")
        s.as_app(TENANT, "UPDATE ward.staff_role SET location_id = (SELECT id FROM ward.location WHERE kind = 'ward' ORDER BY name LIMIT 1) "
                         f"WHERE staff_id = (SELECT id FROM ward.staff WHERE username = '{username}')")
        head = int(s.db.one("postgres", f"SELECT head FROM everward.feed_head WHERE tenant_id = '{s.tenants[TENANT]}'"))
        self.nodes[node].wait(lambda st: st["cursor"] > head or st["cursor"] == st["head"])
        return s.as_app(TENANT, """WITH RECURSIVE below AS (
            SELECT id FROM (SELECT id FROM ward.location WHERE kind = 'ward' ORDER BY name DESC LIMIT 1) w
            UNION ALL SELECT l.id FROM ward.location l JOIN below b ON l.parent_id = b.id)
            SELECT patient_id FROM ward.bed_stay WHERE location_id IN (SELECT id FROM below) AND status = 'active' AND ended_at IS NULL LIMIT 1""")[0][0]

    def do_phone(self, id):
        return self.stack.as_app(TENANT, f"SELECT phone FROM ward.patient WHERE id = '{id}'")[0][0]

    def close(self):
        if self.process is not None:
            self.process.stdin.close()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
            self.process.stdout.close()
        self.stack.stop()
