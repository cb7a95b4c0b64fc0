"""
tests/bench/bench.py - behind tests/bench/run. Each figure stands beside the machine's own limit, measured in the same run.

Not a test: nothing passes or fails by time. A figure that could not be taken is null, with the reason on stderr.
"""
import argparse
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time

from demolib.client import Tablet
from demolib.stack import Stack, StackError

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BATCH = 500
PAUSE_MS = 50
TENANT, USER, PASSWORD = "Bench Hospital", "bench", "bench-password-1"
OBSERVATION = ("patient_id", "status", "category", "code_system", "code", "display", "value_decimal", "value_unit", "value_unit_code",
               "effective_at", "recorded_at", "device_id", "clock_state", "source")


def note(text):
    print(text, file=sys.stderr, flush=True)


def seconds(action):
    started = time.monotonic()
    action()
    return time.monotonic() - started


def limit_upsert(stack):
    """1,000-row upserts under row-level security with one log row for each: what the centre has to do at the least."""
    stack.sql("""
        CREATE SCHEMA limits; GRANT USAGE ON SCHEMA limits TO everward_app;
        CREATE TABLE limits.t (tenant_id uuid, id uuid, a text, b text, c text, d text, e numeric, rev bigint, PRIMARY KEY (tenant_id, id));
        CREATE TABLE limits.log (n bigserial PRIMARY KEY, tenant_id uuid, id uuid, rev bigint, image text);
        ALTER TABLE limits.t ENABLE ROW LEVEL SECURITY; ALTER TABLE limits.t FORCE ROW LEVEL SECURITY;
        CREATE POLICY p ON limits.t USING (tenant_id = (SELECT current_setting('everward.tenant_id')::uuid));
        GRANT ALL ON ALL TABLES IN SCHEMA limits TO everward_app; GRANT ALL ON ALL SEQUENCES IN SCHEMA limits TO everward_app;""")
    batch = """
        BEGIN; SET LOCAL everward.tenant_id = '00000000-0000-7000-8000-000000000001';
        WITH w AS (INSERT INTO limits.t SELECT '00000000-0000-7000-8000-000000000001', gen_random_uuid(), 'final', 'vital-signs', '8867-4',
            'Heart rate', 60.5, 1 FROM generate_series(1, 1000) ON CONFLICT (tenant_id, id) DO UPDATE SET a = excluded.a, rev = t.rev + 1
            RETURNING tenant_id, id, rev, t::text AS image)
        INSERT INTO limits.log (tenant_id, id, rev, image) SELECT * FROM w;
        COMMIT;"""
    taken = seconds(lambda: stack.sql(batch * 100, "everward_app"))
    stack.sql("DROP SCHEMA limits CASCADE")
    return 100_000 / taken


def limit_sqlite_fill(folder, rows):
    """Plain SQLite, 1,000-row transactions of observation-like rows, WAL, FULL."""
    db = sqlite3.connect(os.path.join(folder, "limit.db"), isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    columns = ", ".join(OBSERVATION)
    db.execute(f"CREATE TABLE o (n INTEGER PRIMARY KEY, id BLOB UNIQUE, rev INTEGER, {columns})")
    marks = ", ".join("?" * (len(OBSERVATION) + 2))

    def fill():
        for start in range(0, rows, 1000):
            db.execute("BEGIN")
            db.executemany(f"INSERT INTO o (id, rev, {columns}) VALUES ({marks})",
                           ((os.urandom(16), 1, b"0123456789abcdef", "final", "vital-signs", "http://loinc.org", "8867-4", "Heart rate",
                             "60.50", "/min", "/min", "2026-11-23T06:00:00Z", "2026-11-23T06:00:00Z", "tab-1", "ok", "live")
                            for _ in range(start, start + 1000)))
            db.execute("COMMIT")
    taken = seconds(fill)
    db.close()
    return rows / taken


def limit_sqlite_write(folder, count=3000):
    """Plain SQLite, one insert a transaction, WAL, FULL: per second, p50 and p99 in ms."""
    db = sqlite3.connect(os.path.join(folder, "limit-write.db"), isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE o (n INTEGER PRIMARY KEY, t TEXT)")
    times = sorted(seconds(lambda: db.execute("INSERT INTO o (t) VALUES ('x')")) for _ in range(count))
    db.close()
    return count / sum(times), times[count // 2] * 1000, times[count * 99 // 100] * 1000


def rss_mib(pid, peak=True):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return int(re.search(rf"{'VmHWM' if peak else 'VmRSS'}:\s+(\d+)", f.read())[1]) / 1024


def set_up(stack):
    stack.start_centre()
    stack.add_tenant(TENANT)
    stack.add_site(TENANT, "Bench")
    stack.add_staff(TENANT, USER, "Bench Mark", "doctor,nurse,charge_nurse", PASSWORD)
    tenant = stack.facts["tenants"][TENANT]
    stack.sql("INSERT INTO ward.patient (id, tenant_id, family_name, given_names, active) SELECT gen_random_uuid(), "
              f"'{tenant}', 'Family ' || g, 'Given', true FROM generate_series(1, 100) g", "everward_app", tenant)
    return tenant


def add_node(stack, name):
    stack.add_node(name, TENANT, "Bench")
    stack.start_node(name)
    stack.wait_current(name, 600)


def tablet(stack, node):
    return Tablet("127.0.0.1", stack.facts["nodes"][node]["port"], stack.node_ca(node), USER, PASSWORD)


def write_run(stack, token, patient, args, pause_ms=0):
    p = subprocess.run(["wrk", "-t1", "-c50", f"-d{args.seconds}s", "--timeout", "10s", "-s", os.path.join(ROOT, "tests/bench/write.lua"),
                        stack.node_url("writer"), "--", token, patient], capture_output=True, text=True, check=False,
                       env={**os.environ, "PAUSE_MS": str(pause_ms)})
    m = re.search(r"RESULT (\{.*\})", p.stdout)
    if not m:
        raise StackError(f"wrk: {p.stdout}{p.stderr}")
    r = json.loads(m[1])
    note(f"write, pause {pause_ms} ms: {r}")
    return r


def bench_write(stack, result, args, folder):
    """50 tablets that never pause, for the throughput; 50 that pause about 50 ms (1,000 writes a second), for the wait of one nurse."""
    t = tablet(stack, "writer")
    patient = t.get("/api/v1/patient?limit=1")["items"][0]["id"]
    r = write_run(stack, t.token, patient, args)
    result["write_p50_ms"], result["write_p99_ms"] = r["p50_ms"], r["p99_ms"]
    result["write_per_s"] = (r["requests"] - r["errors"]) / r["seconds"]
    stack.wait_current("writer", 600)
    r = write_run(stack, t.token, patient, args, PAUSE_MS)
    result["write_paced_p50_ms"], result["write_paced_p99_ms"] = r["p50_ms"], r["p99_ms"]
    result["write_paced_per_s"] = (r["requests"] - r["errors"]) / r["seconds"]
    result["limit_write_per_s"], result["limit_write_p50_ms"], result["limit_write_p99_ms"] = limit_sqlite_write(folder)
    result["node_rss_mib_after_writes"] = rss_mib(stack.nodes["writer"].pid)
    stack.wait_current("writer", 600)


def write_backlog(t, patients, count):
    for start in range(0, count, BATCH):
        writes = [{"op": "create", "table": "observation", "values": {
            "patient_id": patients[(start + i) % len(patients)], "status": "final", "category": "vital-signs", "code_system": "http://loinc.org",
            "code": "8867-4", "display": "Heart rate", "value_decimal": f"{60 + i % 60}.50", "value_unit": "/min", "value_unit_code": "/min"}}
            for i in range(min(BATCH, count - start))]
        t.request("POST", "/api/v1/transaction", {"writes": writes}, {"Idempotency-Key": f"backlog-{time.time_ns()}"})


def bench_drain(stack, result, args, folder):
    stack.node_command("writer", "link", "down")
    t = tablet(stack, "writer")
    patients = [p["id"] for p in t.get("/api/v1/patient?limit=100")["items"]]
    taken = seconds(lambda: write_backlog(t, patients, args.pending))
    note(f"drain: {args.pending} changes written offline in {taken:.1f} s")
    before = stack.node_status("writer")
    stack.sql("CHECKPOINT")
    started = time.monotonic()
    stack.node_command("writer", "link", "up")
    while stack.node_status("writer")["acked_seq"] < before["last_seq"]:
        if time.monotonic() - started > 600:
            raise StackError("the backlog did not drain within 600 s")
        time.sleep(0.05)
    result["drain_changes_per_s"] = (before["last_seq"] - before["acked_seq"]) / (time.monotonic() - started)
    result["limit_drain_changes_per_s"] = limit_upsert(stack)
    stack.wait_current("writer", 600)
    result["node_rss_mib_after_drain"] = rss_mib(stack.nodes["writer"].pid)
    result["gateway_rss_mib"] = rss_mib(stack.gateway.pid)


def central_rows(stack, tenant, count):
    """Rows another application wrote: in transactions of 10,000."""
    insert = ("INSERT INTO ward.observation (id, tenant_id, " + ", ".join(OBSERVATION) + ") SELECT gen_random_uuid(), '{t}', p.id, 'final', "
              "'vital-signs', 'http://loinc.org', '8867-4', 'Heart rate', 60 + g % 60 + 0.50, '/min', '/min', '2026-11-23T06:00:00.000+01:00', "
              "'2026-11-23T05:00:00.000Z', 'interface', 'ok', 'interface' FROM generate_series(1, 100) g, "
              "(SELECT id FROM ward.patient WHERE tenant_id = '{t}' LIMIT 100) p").format(t=tenant)
    for _ in range(count // 10_000):
        stack.sql(insert, "everward_app", tenant)


def bench_fill(stack, result, args, folder):
    tenant = stack.facts["tenants"][TENANT]
    have = int(stack.sql(f"SELECT count(*) FROM ward.observation WHERE tenant_id = '{tenant}'")[0][0])
    central_rows(stack, tenant, max(0, args.rows - have))
    stack.sql("VACUUM ANALYZE ward.observation")
    stack.sql("CHECKPOINT")
    stack.add_node("empty", TENANT, "Bench")
    started = time.monotonic()
    stack.start_node("empty")
    stack.wait_current("empty", 1200)
    taken = time.monotonic() - started
    rows = int(stack.sql(f"SELECT count(*) FROM ward.observation WHERE tenant_id = '{tenant}'")[0][0])
    result["first_fill_rows_per_s"] = rows / taken
    result["first_fill_rows"] = rows
    result["limit_first_fill_rows_per_s"] = limit_sqlite_fill(folder, 100_000)
    result["node_rss_mib_after_fill"] = rss_mib(stack.nodes["empty"].pid)


TABLE = [
    ("offline backlog drained", "changes/s", "drain_changes_per_s", "limit_drain_changes_per_s", "goal ≥ 30,000"),
    ("first fill of a sealed replica", "rows/s", "first_fill_rows_per_s", "limit_first_fill_rows_per_s", "goal ≥ 50,000"),
    ("durable write, 50 clients", "/s", "write_per_s", "limit_write_per_s", "goal ≥ 5,000"),
    ("durable write, p50", "ms", "write_p50_ms", "limit_write_p50_ms", ""),
    ("durable write, p99", "ms", "write_p99_ms", "limit_write_p99_ms", "goal ≤ 10"),
    ("durable write, 50 clients that pause 50 ms", "/s", "write_paced_per_s", None, ""),
    ("the same, p50", "ms", "write_paced_p50_ms", "limit_write_p50_ms", ""),
    ("the same, p99", "ms", "write_paced_p99_ms", "limit_write_p99_ms", "goal ≤ 10"),
    ("memory of the node after writes", "MiB", "node_rss_mib_after_writes", None, "goal ≤ 64"),
    ("memory of the node after the drain", "MiB", "node_rss_mib_after_drain", None, "goal ≤ 64"),
    ("memory of a node after its first fill", "MiB", "node_rss_mib_after_fill", None, "goal ≤ 64"),
    ("memory of the gateway", "MiB", "gateway_rss_mib", None, ""),
]


def show(result):
    print(f"{'figure':42} {'unit':10} {'here':>12} {'limit':>12} {'ratio':>7}  goal")
    for title, unit, key, limit, goal in TABLE:
        if result.get(key) is None:
            continue
        against = result.get(limit) if limit else None
        ratio = f"{result[key] / against:7.2f}" if against else " " * 7
        print(f"{title:42} {unit:10} {result[key]:12,.1f} {f'{against:12,.1f}' if against else ' ' * 12} {ratio}  {goal}")


def main():
    parser = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__)
    parser.add_argument("parts", nargs="*", help="write, drain, fill (default: all)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the first fill")
    parser.add_argument("--pending", type=int, default=100_000, help="changes of the backlog")
    parser.add_argument("--seconds", type=int, default=10, help="of the write bench")
    parser.add_argument("--build", default=os.path.join(ROOT, "build", "release"))
    parser.add_argument("--keep", action="store_true", help="leave everything running and say where")
    args = parser.parse_args()
    parts = args.parts or ["write", "drain", "fill"]
    folder = tempfile.mkdtemp(prefix="everward-bench-", dir="/var/tmp")
    os.chmod(folder, 0o755)
    stack = Stack(os.path.join(folder, "stack"), args.build)
    result = {}
    try:
        set_up(stack)
        if "write" in parts or "drain" in parts:
            add_node(stack, "writer")
        for part, action in (("write", bench_write), ("drain", bench_drain), ("fill", bench_fill)):
            if part in parts:
                try:
                    action(stack, result, args, folder)
                except (StackError, OSError, KeyError, TimeoutError, subprocess.SubprocessError) as e:
                    note(f"{part}: {type(e).__name__}: {e}")
    finally:
        if args.keep:
            note(f"left in {folder}")
        else:
            stack.remove()
            shutil.rmtree(folder, ignore_errors=True)
    show(result)
    if args.json:
        names = [k for row in TABLE for k in row[2:4] if k]
        print(json.dumps({**{k: None for k in names}, **result}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
