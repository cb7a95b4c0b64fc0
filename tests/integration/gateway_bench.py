"""How fast the gateway alone takes pushes: python3 gateway_bench.py [changes] [batch] [depth]. Not a test.

Batches are made beforehand and sent in order, depth of them under way at once (a TLS connection each). Prints changes/s, the share of
each stage (the gateway's metrics) and the processor time of gateway and PostgreSQL.
"""

import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
import uuid

import gateway_client as gc
import pg

CHANGES = int(sys.argv[1]) if len(sys.argv) > 1 else 100000
BATCH = int(sys.argv[2]) if len(sys.argv) > 2 else 2000
DEPTH = int(sys.argv[3]) if len(sys.argv) > 3 else 1


def cpu_seconds(pid):
    with open("/proc/%d/stat" % pid) as f:
        fields = f.read().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def server_cpu(cluster):
    with open(os.path.join(cluster.data, "postmaster.pid")) as f:
        parent = f.readline().strip()
    total = 0
    for pid in os.listdir("/proc"):
        try:
            with open("/proc/%s/stat" % pid) as f:
                if f.read().rsplit(") ", 1)[1].split()[1] == parent:
                    total += cpu_seconds(int(pid))
        except (OSError, IndexError):
            pass
    return total


def main():
    folder = tempfile.mkdtemp(prefix="ew-bench-", dir="/tmp")
    cluster = pg.Cluster(options={"fsync": "on", "shared_buffers": "256MB", "max_wal_size": "4GB", **json.loads(os.environ.get("PG_OPTIONS", "{}"))}).start()
    db = cluster.create("bench", migrate=False)
    gw = gc.Gateway(folder, db)
    try:
        gw.cli("migrate")
        gw.cli("tenant", "add", "T")
        gw.cli("site", "add", "S", "--tenant", "T")
        gw.start()
        node = gc.Node(gw)
        node.enrol(gw.cli("node", "invite", "--tenant", "T", "--site", "S"))
        rng = random.Random(1)
        patients = [str(uuid.UUID(int=rng.getrandbits(128))) for _ in range(200)]
        staff = [str(uuid.UUID(int=rng.getrandbits(128))) for _ in range(3)]
        assert node.push([node.insert("patient", {"family_name": "P"}, row=p) for p in patients])[0] == 200
        bodies = []
        while node.seq < CHANGES:
            lines = []
            for _ in range(BATCH):
                row = str(uuid.UUID(int=(1700000000000 + node.seq) << 80 | 7 << 76 | rng.getrandbits(76)))
                lines.append(node.insert("observation", {
                    "patient_id": rng.choice(patients), "status": "final", "category": "vital-signs", "code_system": "http://loinc.org",
                    "code": "8867-4", "display": "Heart rate", "value_decimal": "%.1f" % (60 + rng.random() * 60), "value_unit": "beats/minute",
                    "value_unit_code": "/min", "effective_at": "2026-11-23T08:%02d:%02d.000+01:00" % (rng.randrange(60), rng.randrange(60)),
                    "recorded_at": "2026-11-23T08:%02d:%02d.123+01:00" % (rng.randrange(60), rng.randrange(60)),
                    "recorded_by": rng.choice(staff), "device_id": "tablet-7", "clock_state": "ok", "source": "live"},
                    row=row, actor=rng.choice(staff)))
            node.chain, data = node.body(lines)
            bodies.append(data)
        node.current_token()
        before, gateway0, server0 = gw.metrics(), cpu_seconds(gw.process.pid), server_cpu(cluster)
        t0 = time.monotonic()
        lanes = [node] + [node.copy() for _ in range(DEPTH - 1)]
        for lane in lanes:
            lane.connection = None

        def run(k):
            for data in bodies[k::DEPTH]:
                status, reply = lanes[k].send(data)
                while status == 409 and reply["code"] == "gap":
                    status, reply = lanes[k].send(data)
                assert status == 200 and reply["outcomes"] == [], reply
        threads = [threading.Thread(target=run, args=(k,)) for k in range(DEPTH)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        took = time.monotonic() - t0
        n = len(bodies) * BATCH
        after = gw.metrics()
        print("%d changes in batches of %d: %.0f changes/s (%.2f s)" % (n, BATCH, n / took, took))
        for stage in ("decode", "plan", "write", "commit"):
            name = "push_%s_microseconds_total" % stage
            print("  %-7s %6.2f us/change" % (stage, (after[name] - before[name]) / n))
        print("  cpu     gateway %.2f us/change, PostgreSQL %.2f us/change" % (
            (cpu_seconds(gw.process.pid) - gateway0) / n * 1e6, (server_cpu(cluster) - server0) / n * 1e6))
        print("  fast %d, general %d" % (after["push_fast_total"] - before["push_fast_total"],
                                          after["push_general_total"] - before["push_general_total"]))
        cursor, rows, t0 = 0, 0, time.monotonic()
        while True:
            status, data = node.request("GET", "/sync/v1/feed?after=%d" % cursor)
            last = gc.unpack(data)
            rows += sum(isinstance(l, list) for l in last)
            cursor = last[-1]["done"]
            if not last[-1]["more"]:
                break
        print("  feed to %d with unpacking: %.2f s" % (cursor, time.monotonic() - t0))
    finally:
        gw.stop()
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
