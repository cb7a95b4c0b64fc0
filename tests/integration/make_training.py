"""Makes node/training/hospital.ndjson anew (docs/HACKING.md): a synthetic hospital as the pages that a node's first fill brings.

    EVERWARD_BUILD=build/dev python3 tests/integration/make_training.py

By hand, when the catalog or the generator has moved so far that it is worth it: a page of an older catalog still fits. What a node
changes when it takes it in is written in node/cli/training.c: the tenant, the times, the verifiers.
"""
import json
import os
import shutil
import subprocess

import gateway_client as gc
import stack

AT = "2026-06-01T08:00:00+00:00"
STAFF = (("nurse", "Nora Training", "nurse"), ("doctor", "Dan Training", "doctor"), ("charge", "Carla Training", "charge_nurse"),
         ("pharmacist", "Paul Training", "pharmacist"), ("registrar", "Rita Training", "registrar"))
OUT = os.path.join(gc.ROOT, "node", "training", "hospital.ndjson")


def pages(node, table):
    after = ""
    while True:
        lines = gc.unpack(node.request("GET", f"/sync/v1/bootstrap?table={table}{after}")[1])
        yield lines
        if lines[-1]["next"] is None:
            return
        after = "&after=" + lines[-1]["next"]


def main():
    with stack.Stack() as s:
        s.gateway.cli("tenant", "add", "Training")
        s.gateway.cli("site", "add", "Training", "--tenant", "Training")
        for username, name, role in STAFF:
            s.gateway.cli("staff", "add", "--tenant", "Training", "--username", username, "--name", name, "--role", role,
                          "--password-file", "-", input=stack.PASSWORD + "\n")
        folder = os.path.join(s.folder, "fhir")
        subprocess.run([os.path.join(gc.ROOT, "packaging", "synthetic-hospital"), "--seed", "11", "--patients", "10", "--wards", "1", "--rooms", "6",
                        "--days", "1", "--tenant-name", "Training Hospital", "--until", AT, "--out", folder, "--quiet"], check=True)
        s.gateway.cli("import", "fhir", folder, "--tenant", "Training")
        node = gc.Node(s.gateway)
        node.enrol(s.gateway.cli("node", "invite", "maker", "--tenant", "Training", "--site", "Training").strip())
        shutil.copyfile(os.path.join(gc.ROOT, "tests", "golden", "catalog.json"), os.path.join(os.path.dirname(OUT), "catalog.json"))
        with open(os.path.join(os.path.dirname(OUT), "catalog.json"), encoding="utf-8") as f:
            catalog = json.load(f)
        head = None
        with open(OUT, "w", encoding="utf-8") as f:
            for table in catalog["tables"]:
                if table.get("push_only"):
                    continue
                for lines in pages(node, table["name"]):
                    if head is None:
                        head = {"format": "everward-training/1", "tenant": lines[0]["tenant"], "at": AT[:19] + "Z"}
                        print(json.dumps(head, separators=(",", ":")), file=f)
                    for line in lines:
                        line = ["@VERIFIER@" if str(v).startswith("$argon2id$") else v for v in line] if isinstance(line, list) else line
                        print(json.dumps(line, separators=(",", ":"), ensure_ascii=False), file=f)
        node.close()


if __name__ == "__main__":
    main()
