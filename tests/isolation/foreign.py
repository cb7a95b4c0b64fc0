"""A foreign tenant full of canaries: one row at least in every table that has a tenant, found from the database's own catalog.

Each text of such a row is a word that stands nowhere else, so that a single one in a reply, a log line or a file shows a leak. A new
table is filled by itself; one whose constraints cannot be met by trying fails the test that uses this, and is then told about here."""

import re
import secrets
import uuid

import pg

ATTEMPTS = 24
PREFIX = "cnry"
CANARY = re.compile(PREFIX + "[0-9a-f]{12}")
MOMENT = "'2026-01-02T03:04:05.006Z'"
# What cannot be guessed from types and constraints: expressions by table and column; %s is the tenant.
A_PATIENT = "(SELECT id FROM ward.patient WHERE tenant_id = '%s' LIMIT 1)"
TOLD = {"everward.escrow": {"sealed": "decode(repeat('07', 200), 'hex')"}, "everward.number_scheme": {"digits": "7"}, "everward.audit_witness": {"sig": "decode(repeat('07', 64), 'hex')"}}


def canary():
    return PREFIX + secrets.token_hex(6)


def tables(db):
    """(schema.table, tenant column) of every table that has a tenant, without partitions."""
    return [(r[0], r[1]) for r in db.sql("postgres", """
        SELECT c.oid::regclass::text, a.attname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname IN ('tenant_id', 'tenant') AND NOT a.attisdropped
        WHERE n.nspname IN ('ward', 'everward') AND c.relkind IN ('r', 'p') AND NOT c.relispartition
        ORDER BY n.nspname DESC, c.relname <> 'patient', c.relname""")]


def columns(db, table):
    return db.sql("postgres", """
        SELECT a.attname, format_type(coalesce(nullif(t.typbasetype, 0), t.oid), NULL), a.attnotnull, a.atthasdef OR a.attgenerated <> ''
        FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
        WHERE a.attrelid = '%s'::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum""" % table)


def value(kind):
    if kind in ("text", "character varying", "name"):
        return "'%s'" % canary()
    simple = {"uuid": "gen_random_uuid()", "boolean": "true", "date": "'2026-01-02'", "bytea": "decode(repeat('07', 32), 'hex')",
              "json": "'[]'", "jsonb": "'[]'", "timestamp with time zone": "now()", "smallint": "1", "integer": "1", "bigint": "1",
              "numeric": "1", "interval": "'1 hour'", '"char"': "'i'", "xid8": "'5'::xid8", "oid": "1"}
    if kind.endswith("[]"):
        return "'{}'"
    return simple.get(kind, "NULL")


def choices(db, table):
    """Words that the table's checks name, by column."""
    found = {}
    for (text,) in db.sql("postgres", "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = '%s'::regclass AND contype = 'c'" % table):
        for name in re.findall(r"\(?\(?(\w+)\)?(?:::text)? (?:= ANY|=|~)", text):
            found.setdefault(name, []).extend(re.findall(r"'([^']*)'", text))
    return found


def fill(db, table, tenant_column, tenant):
    """One row of the tenant; the canaries in it."""
    words = choices(db, table)
    all_columns = columns(db, table)
    row = {name: MOMENT if kind == "text" and name.endswith("_at") or name == "at" and kind == "text" else value(kind)
           for name, kind, _, default in all_columns if name != "rev" or default == "f"}
    row.update(TOLD.get(table, {}))
    if table == "everward.receipt":
        row["outcomes"] = "'[{\"seq\":1,\"outcome\":\"quarantined\",\"reason\":\"%s\"}]'" % canary()
    if "patient_id" in row:
        row["patient_id"] = A_PATIENT % tenant
    row[tenant_column] = "'%s'" % tenant
    tried = {"needed": {name for name, _, needed, default in all_columns if needed == "t" and default == "f"}}
    for _ in range(ATTEMPTS):
        row = {k: v for k, v in row.items() if v != "NULL"}
        try:
            db.sql("postgres", "BEGIN; SET LOCAL session_replication_role = replica; INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE VALUES (%s) ON CONFLICT DO NOTHING; COMMIT;"
                   % (table, ", ".join('"%s"' % k for k in row), ", ".join(row.values())))
            return set(CANARY.findall(" ".join(row.values())))
        except pg.SqlError as e:
            if not repair(e, row, words, tried):
                raise
    raise AssertionError("no row of %s could be made: tell foreign.py how" % table)


def repair(e, row, words, tried):
    """The next thing to try for this error; False: nothing is left."""
    text = e.text
    constraint = re.search(r'constraint "([^"]+)"', text)
    if e.sqlstate == "23514" and constraint:
        for name in [n for n in words if n in row] or []:
            if name in constraint.group(1) or len(words) == 1 or tried.get("all"):
                left = [w for w in words[name] if w not in tried.setdefault(name, [])]
                if left:
                    tried[name].append(left[0])
                    row[name] = "'%s'" % left[0]
                    return True
        if not tried.get("all"):
            tried["all"] = True
            return True
    for name in list(row):
        if CANARY.search(row[name]) and name not in tried["needed"] and name not in tried.get("dropped", []):
            if e.sqlstate in ("23514", "22P02", "22007", "22008", "42804", "428C9"):
                tried.setdefault("dropped", []).append(name)
                del row[name]
                return True
    return False


def plant(db, tenant):
    """Fills every table; {table: its canaries}."""
    done = {}
    for table, column in tables(db):
        if table in ("everward.tenant", "everward.node_of", "everward.token_of"):
            continue
        done[table] = fill(db, table, column, tenant)
    return done


def picture(db, tenant):
    """Everything the tenant has, table by table: equal before and after, nothing of it was touched."""
    out = {}
    for table, column in tables(db):
        out[table] = db.one("postgres", "SELECT count(*) || ' ' || coalesce(md5(string_agg(t::text, E'\\n' ORDER BY t::text)), '') FROM %s t WHERE %s = '%s'"
                            % (table, column, tenant))
    return out


def some_id():
    return str(uuid.uuid4())
