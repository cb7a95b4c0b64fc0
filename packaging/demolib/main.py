"""
packaging/demolib/main.py - behind packaging/demo: sets the scene, plays the story, tells how it went.
"""
import argparse
import datetime
import json
import os
import secrets
import subprocess
import sys
import time

from demolib.client import ApiError
from demolib.stack import Stack, StackError
from demolib.story import NODES, OTHER, TENANT, USER, Story

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SEED, PATIENTS, WARDS, DAYS = 7, 40, 2, 2


def default_state():
    base = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(base, "everward-demo")


def say(text):
    print(text, flush=True)


def import_hospital(stack, tenant, seed, patients):
    """Made from a fixed seed: names and numbers of nobody."""
    folder = os.path.join(stack.folder, f"fhir-{seed}")
    # Its present is the first run's: a ward's screen with last summer's vital signs would show nothing due.
    until = stack.facts.setdefault("until", datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:00:00+00:00"))
    stack.save()
    subprocess.run([os.path.join(HERE, "synthetic-hospital"), "--seed", str(seed), "--patients", str(patients), "--wards", str(WARDS),
                    "--days", str(DAYS), "--until", until, "--out", folder], check=True, stdout=subprocess.DEVNULL)
    return stack.gateway_command("import", "fhir", folder, "--tenant", tenant)


def set_the_scene(stack, password):
    """Once per state folder; each step can be repeated."""
    say("Starting a PostgreSQL of its own and the gateway …")
    stack.start_centre()
    if not stack.facts.get("ready"):
        for tenant, seed, patients in ((TENANT, SEED, PATIENTS), (OTHER, SEED + 1, PATIENTS // 4)):
            stack.add_tenant(tenant)
            for owner, site in NODES.values():
                if owner == tenant:
                    stack.add_site(tenant, site)
            say(f"Importing a synthetic hospital for {tenant} …")
            import_hospital(stack, tenant, seed, patients)
            stack.add_staff(tenant, USER, "Nadia Berg", "charge_nurse", password)
        for node, (tenant, site) in NODES.items():
            say(f"Setting up the node {node} …")
            stack.add_node(node, tenant, site)
        stack.facts["ready"] = True
        stack.save()
    for node in NODES:
        stack.start_node(node)
        stack.node_command(node, "link", "up")
    for node in NODES:
        status = stack.wait_current(node)
        say(f"{node} holds a sealed copy of its tenant's data (cut {status['cursor']})")


def write_demo_json(stack, password):
    facts = {
        "postgres": {"admin_dsn": stack.dsn("postgres"), "app_dsn": stack.dsn("everward_app")},
        "gateway": {"url": stack.gateway_url, "ca": stack.gateway_ca},
        "tenants": [{"name": name, "tenant_id": tenant} for name, tenant in stack.facts["tenants"].items()],
        "nodes": [{"name": node, "tenant_id": stack.facts["tenants"][tenant], "url": stack.node_url(node), "ca": stack.node_ca(node),
                   "config": stack.node_config(node), "user": USER, "password": password} for node, (tenant, _) in NODES.items()],
    }
    path = os.path.join(stack.folder, "demo.json")
    with open(path + ".new", "w", encoding="utf-8") as f:
        json.dump(facts, f, indent=1)
    os.chmod(path + ".new", 0o600)
    os.replace(path + ".new", path)


def what_to_try(stack, password):
    alder, birch = stack.node_config("Alder"), stack.node_config("Birch")
    say("\nEverything is running. Try:")
    say(f"  the ward app: open {stack.node_url('Alder')}/ in a browser, log in as {USER} with {password}")
    say("    (the browser warns unless it trusts the node's own CA, see /trust; two windows show how entries appear on both)")
    for node in NODES:
        say(f"  {node:6} {stack.node_url(node)}  user {USER}  password {password}  CA {stack.node_ca(node)}")
    say(f"  {stack.everward} status --config {alder}")
    say(f"  {stack.everward} link down --config {birch}      (and: link up, verify, conflicts)")
    say(f"  curl --cacert {stack.node_ca('Alder')} {stack.node_url('Alder')}/readyz")
    say(f"  psql \"{stack.dsn('everward_app')}\" -c \"BEGIN\" -c \"SET LOCAL everward.tenant_id = "
        f"'{stack.facts['tenants'][TENANT]}'\" -c \"SELECT count(*) FROM ward.patient\" -c COMMIT")
    say(f"  a script finds all of this in {stack.folder}/demo.json; packaging/demo stop ends it, packaging/demo reset forgets it\n")


def play(stack, once):
    password = stack.facts.setdefault("staff_password", secrets.token_urlsafe(9))
    stack.save()
    started = time.monotonic()
    try:
        set_the_scene(stack, password)
        write_demo_json(stack, password)
        say(f"All is up after {time.monotonic() - started:.1f} s.")
        good, line = Story(stack, password).play()
    except (StackError, ApiError, OSError, AssertionError, TimeoutError, subprocess.SubprocessError, RuntimeError, KeyError) as e:
        good, line = False, f"{type(e).__name__}: {e}"
    if once or not good:
        stack.stop()
    elif good:
        what_to_try(stack, password)
    line = " ".join(line.split())
    say(f"demo: ok {line}" if good else f"demo: FAILED {line}")
    return 0 if good else 1


def main():
    parser = argparse.ArgumentParser(prog="packaging/demo", description="Two clinics of one hospital work through an outage "
                                     "and come together again. Installs, builds and starts all it needs on this machine alone.")
    parser.add_argument("verb", nargs="?", choices=["stop", "reset"], help="stop what runs, or stop it and remove its data")
    parser.add_argument("--once", action="store_true", help="stop everything when the story has been told")
    parser.add_argument("--state", default=default_state(), help="folder for its data (default: %(default)s)")
    parser.add_argument("--build", default=os.path.join(os.path.dirname(HERE), "build", "release"), help="folder of programs built already")
    args = parser.parse_args()
    if args.verb and not os.path.exists(os.path.join(args.state, "stack.json")):
        say(f"nothing to {args.verb} in {args.state}")
        return 0
    stack = Stack(args.state, args.build)
    if args.verb:
        (stack.stop if args.verb == "stop" else stack.remove)()
        say("stopped" if args.verb == "stop" else f"stopped, and {args.state} is gone")
        return 0
    try:
        return play(stack, args.once)
    except KeyboardInterrupt:
        stack.stop()
        say("demo: FAILED interrupted")
        return 1


if __name__ == "__main__":
    sys.exit(main())
