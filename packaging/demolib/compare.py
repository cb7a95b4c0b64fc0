"""
packaging/demolib/compare.py - holds the list of acknowledged writes against the centre and every node.

  lost        acknowledged, but not at the centre or not on a node of its tenant, or with another value than was written
  duplicated  written once, there more than once (by the mark each write carries, and by inserts in the change log)
  diverged    rows that differ between the centre and a node: missing, surplus, another revision or another value
  leaked      rows of another tenant seen anywhere: on a node, through the node's API, or through the centre's row-level security
"""
import json

TABLES = ["patient", "encounter", "observation", "allergy", "medication_order", "medication_administration", "note", "task",
          "condition", "location", "conflict", "conflict_resolution"]


class Acknowledged:
    """One write that a node or the centre has answered with success. mark: a text no other write carries."""

    def __init__(self, tenant, table, row_id, column, value, insert):
        self.tenant, self.table, self.row_id = tenant, table, row_id
        self.column, self.value, self.insert = column, value, insert


def central_columns(stack, table):
    return [r for r in stack.sql(f"SELECT c.name, c.type FROM everward.sync_column c JOIN everward.sync_table t USING (tbl) "
                                 f"WHERE t.name = '{table}' AND c.api <> 'hidden' ORDER BY c.ord")]


def schema_of(table):
    return "everward" if table.startswith("conflict") else "ward"


def central_rows(stack, tenant, table, columns):
    names = ", ".join(f'"{name}"' for name, _ in columns)
    rows = stack.sql(f"SELECT id, rev, {names} FROM {schema_of(table)}.{table} WHERE tenant_id = '{tenant}'")
    return {r[0]: dict(zip(["rev"] + [name for name, _ in columns], r[1:])) for r in rows}


def as_text(value, kind):
    """What the API shows, in the centre's text form."""
    if value is None:
        return None
    if kind == "bool":
        return "t" if value else "f"
    if kind == "json":
        return value if isinstance(value, str) else json.dumps(value)
    return str(value)


def same(mine, theirs, kind):
    if kind == "json" and mine is not None and theirs is not None:
        return json.loads(mine) == json.loads(theirs)
    return mine == theirs


def node_rows(tablet, table, columns):
    rows = {}
    for item in tablet.all(table):
        rows[item["id"]] = {"rev": str(item["rev"]), **{name: as_text(item.get(name), kind) for name, kind in columns}}
    return rows


def differences(central, local, columns):
    kinds = dict(columns) | {"rev": "int"}
    found = len(central.keys() ^ local.keys())
    for row_id in central.keys() & local.keys():
        if any(not same(central[row_id][c], local[row_id][c], kinds[c]) for c in central[row_id]):
            found += 1
    return found


def holds(rows, write):
    row = rows.get(write.row_id)
    return row is not None and row[write.column] == write.value


def inserts(stack, tenant, write):
    return int(stack.sql(f"SELECT count(*) FROM everward.change c JOIN everward.sync_table t USING (tbl) WHERE c.tenant_id = '{tenant}' "
                         f"AND t.name = '{write.table}' AND c.row_id = '{write.row_id}' AND c.op = 'i'")[0][0])


def compare(stack, acknowledged, tablets, say):
    """tablets: node name → (tenant id, Tablet). Returns the counts; say() is told of each finding."""
    counts = {"lost": 0, "duplicated": 0, "diverged": 0, "leaked": 0}
    tenants = sorted({tenant for tenant, _ in tablets.values()})
    foreign = {t: [i for other in tenants if other != t for i in all_ids(stack, other)] for t in tenants}
    for tenant in tenants:
        for table in TABLES:
            columns = central_columns(stack, table)
            central = central_rows(stack, tenant, table, columns)
            writes = [w for w in acknowledged if w.tenant == tenant and w.table == table]
            places = {"the centre": central}
            for name, (owner, tablet) in tablets.items():
                if owner == tenant:
                    places[name] = node_rows(tablet, table, columns)
                    different = differences(central, places[name], columns)
                    counts["diverged"] += different
                    if different:
                        say(f"{different} rows of {table} differ between {name} and the centre")
                    leaked = len(places[name].keys() & set(foreign[tenant]))
                    counts["leaked"] += leaked
            for place, rows in places.items():
                for write in writes:
                    if not holds(rows, write):
                        counts["lost"] += 1
                        say(f"{table} {write.row_id} is not at {place} as it was acknowledged")
            for write in (w for w in writes if w.insert):
                copies = sum(1 for r in central.values() if r[write.column] == write.value)
                if copies > 1 or inserts(stack, tenant, write) > 1:
                    counts["duplicated"] += 1
                    say(f"{table} {write.row_id} is there {copies} times")
    counts["leaked"] += leaks_at_the_centre(stack, tenants) + leaks_through_the_api(tablets, foreign)
    return counts


def all_ids(stack, tenant):
    return [r[0] for r in stack.sql(f"SELECT id FROM ward.patient WHERE tenant_id = '{tenant}' UNION ALL "
                                    f"SELECT id FROM ward.observation WHERE tenant_id = '{tenant}'")]


def leaks_at_the_centre(stack, tenants):
    """Through row-level security as another application sees it: own rows only, and none without a tenant."""
    found = 0
    for tenant in tenants:
        for table in ("patient", "observation"):
            found += int(stack.sql(f"SELECT count(*) FROM ward.{table} WHERE tenant_id <> '{tenant}'", "everward_app", tenant)[0][0])
    return found


def leaks_through_the_api(tablets, foreign):
    """Asks each node for rows of the other tenants by their very ids: each must be unknown."""
    from demolib.client import ApiError
    found = 0
    for tenant, tablet in tablets.values():
        for row_id in foreign[tenant][:20]:
            try:
                tablet.get(f"/api/v1/patient/{row_id}")
                found += 1
            except ApiError as e:
                found += e.status != 404
    return found


def conflicts_open(stack, tablets):
    """Open conflicts, if the centre and every node agree on them; else -1."""
    counts = {}
    for name, (tenant, tablet) in tablets.items():
        central = int(stack.sql(f"SELECT count(*) FROM everward.conflict WHERE tenant_id = '{tenant}' AND state = 'open'")[0][0])
        counts[tenant] = central
        local = sum(1 for c in tablet.all("conflict") if c["state"] == "open")
        if local != central:
            return -1
    return sum(counts.values())
