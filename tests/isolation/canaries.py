"""A foreign tenant whose every value can be recognised, made from the catalog: no table, no column forgotten.

    foreign = Foreign(db, tenant_id)
    foreign.fill()                  # a row in each table with a tenant; a new table is taken by itself or stops the test
    foreign.collect()               # what must never arrive anywhere: foreign.marks (texts), foreign.ids (uuids), foreign.bytes
    foreign.found_in(text, said)    # the canaries in it that the asker had not said itself
    before = foreign.dump()         # a digest of each table's rows of that tenant, for comparing

Columns of text and JSON hold "cnry" and 20 random hex digits (fewer where a CHECK allows less), byte columns 32 random bytes
(looked for as hex and as base64url), uuids are random by themselves, decimals 14 random digits. What a CHECK confines holds an allowed value."""

import base64
import os
import random
import re
import uuid

TABLES = """SELECT c.oid, format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute t ON t.attrelid = c.oid AND t.attname = 'tenant_id' AND NOT t.attisdropped
  WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  ORDER BY n.nspname = 'ward' DESC, c.oid"""
EVERY_TABLE = """SELECT format('%I.%I', n.nspname, c.relname), EXISTS (SELECT FROM pg_attribute t WHERE t.attrelid = c.oid AND
  t.attname = 'tenant_id' AND NOT t.attisdropped) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1"""
COLUMNS = """SELECT a.attname, CASE WHEN t.typtype = 'd' THEN t.typname ELSE format_type(a.atttypid, NULL) END, a.attnotnull,
  coalesce((SELECT string_agg(pg_get_constraintdef(k.oid), ' ' ORDER BY k.conname) FROM pg_constraint k WHERE k.conrelid = a.attrelid AND k.contype = 'c'
            AND a.attnum = ANY (k.conkey)), '')
  FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped
  AND a.attgenerated = '' ORDER BY a.attnum"""
MARK = re.compile("cnry[0-9a-f]{8,20}")
UUID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TEXTS = {"text", "character varying", "character", "json", "jsonb", "bytea", "moment", "numeric"}
# Columns that the centre itself works with: another value there would stop the tenant, not show a leak.
WORKING = {"everward.feed_head.identity", "everward.tenant.tier"}


def mark(size=24):
    return ("cnry" + os.urandom(10).hex())[:size]


def least(name, check):
    """A small whole number that the CHECKs of this column allow."""
    return str(max([1] + [int(n) + (sign == ">") for sign, n in re.findall(r"\(%s (>=?) \(?(\d+)" % re.escape(name), check)]))


def quote(s):
    return "'" + s.replace("'", "''") + "'"


class Foreign:
    def __init__(self, db, tenant):
        self.db, self.tenant = db, tenant
        self.marks, self.ids, self.bytes = set(), set(), set()
        self.tables, self.columns, self.rows = [], 0, {}

    def _value(self, table, name, kind, check):
        allowed = re.search(r"%s\)?(?:::text)? = ANY \(+ARRAY\[(.*?)\]" % re.escape(name), check)
        if name == "tenant_id":
            return quote(self.tenant)
        if allowed:
            return allowed.group(1).split(", ")[-1]
        if name == "patient_id":  # checked by a trigger of its own (must_exist)
            return "(SELECT min(id::text)::uuid FROM ward.patient WHERE tenant_id = '%s')" % self.tenant
        if name == "table_name":
            return "'patient'"
        if kind in ("text", "character varying", "character"):
            size = re.search(r"length\(%s\) <= (\d+)" % re.escape(name), check)
            return quote(("https://" if "https://" in check else "") + mark(min(24, int(size.group(1))) if size else 24))
        if kind in ("json", "jsonb"):
            return quote('{"canary": "%s"}' % mark())
        if kind == "bytea":
            size = re.search(r"length\(%s\) (?:=|>=) (\d+)" % re.escape(name), check)
            return quote("\\x" + os.urandom(int(size.group(1)) if size else 32).hex())
        if kind == "moment":
            return quote("19%02d-0%d-1%dT0%d:%02d:%02d.%09dZ" % (random.randrange(10, 60), random.randrange(1, 9), random.randrange(9),
                                                               random.randrange(9), random.randrange(59), random.randrange(59),
                                                               random.randrange(10 ** 9)))
        if kind == "uuid":
            return quote(str(uuid.uuid4()))
        if kind == "numeric":
            return str(random.randrange(10 ** 13, 10 ** 14))
        if name == "tbl":
            return "(SELECT min(tbl) FROM everward.sync_table)"
        if name == "txn":
            return "nextval('everward.change_id')"
        if kind in ("bigint", "integer", "smallint"):
            return least(name, check)
        known = {"boolean": "true", '"char"': "'u'", "xid8": "pg_current_xact_id()",
                 "timestamp with time zone": "now()", "date": "'1931-02-03'"}
        if kind in known:
            return known[kind]
        if kind.endswith("[]"):
            return "NULL"
        raise AssertionError("%s.%s: no canary is known for the type %s; give it one here" % (table, name, kind))

    def fill(self, rows=2):
        """Rows in every table with a tenant. Foreign keys are not followed (replication role), checks hold."""
        for oid, table in self.db.sql("postgres", TABLES):
            columns = self.db.sql("postgres", COLUMNS % oid)
            for _ in range(rows):
                values = {c[0]: self._value(table, c[0], c[1], c[3]) for c in columns}
                for c in columns:  # rev is given by the trigger; the feed's numbers stay the centre's
                    if table + "." + c[0] in WORKING:
                        values[c[0]] = "DEFAULT"
                self.db.sql("postgres", "BEGIN; SET LOCAL session_replication_role = replica; INSERT INTO %s (%s) VALUES (%s) "
                            "ON CONFLICT DO NOTHING; COMMIT;" % (table, ", ".join('"%s"' % c for c in values), ", ".join(values.values())))
        return self

    def collect(self):
        """Reads back what is there: a table without a row, or a text column without a canary, is a hole in this test."""
        self.tables, holes = [], []
        for oid, table in self.db.sql("postgres", TABLES):
            self.tables.append(table)
            columns = self.db.sql("postgres", COLUMNS % oid)
            got = self.db.sql("postgres", "SELECT %s FROM %s WHERE tenant_id = '%s'"
                              % (", ".join("translate(\"%s\"::text, E'\\n', ' ')" % c[0] for c in columns), table, self.tenant))
            self.rows[table] = [dict(zip((c[0] for c in columns), r)) for r in got]
            if not got:
                holes.append(table)
            for n, (name, kind, _, check) in enumerate(columns):
                values = {r[n] for r in got if r[n] is not None}
                self._take(kind, values)
                if kind in TEXTS:
                    self.columns += 1
                    if not (values or table + "." + name in WORKING):
                        holes.append(table + "." + name)
        assert not holes, "no canary in: %s" % holes
        self.ids.discard("00000000-0000-0000-0000-000000000000")
        return self

    def _take(self, kind, values):
        for v in values:
            self.marks.update(MARK.findall(v))
            self.ids.update(UUID.findall(v))
            if kind == "bytea" and len(v) >= 2 + 32:
                self.bytes.add(v[2:])
                self.bytes.add(base64.urlsafe_b64encode(bytes.fromhex(v[2:])).rstrip(b"=").decode())
            if (kind == "moment" and len(v) > 24) or (kind == "numeric" and len(v) == 14):
                self.marks.add(v)

    def forget(self, shared):
        """What the asker's own tenant has too (a role's name) is no canary."""
        for s in (self.marks, self.ids, self.bytes):
            s -= shared
        return self

    def found_in(self, text, said=""):
        """Any canary in the text that was not in the asker's own words."""
        hits = {m for m in MARK.findall(text) if m in self.marks} | {u for u in UUID.findall(text.lower()) if u in self.ids}
        # A short mark may stand before other digits, and what is no mark has no form: both are looked for as they are.
        hits |= {m for m in self.marks if not (m.startswith("cnry") and len(m) == 24) and m in text} | {b for b in self.bytes if b in text}
        return {h for h in hits if h not in said}

    def dump(self):
        """{table: digest of that tenant's rows}; tables without a tenant column: the rows that name it, its nodes or its tokens."""
        nodes = "|".join([self.tenant] + [r[0] for r in self.db.sql("postgres", "SELECT node_id FROM everward.node WHERE tenant_id = '%s'" % self.tenant)])
        each = []
        for table, has in self.db.sql("postgres", EVERY_TABLE):
            where = "tenant_id = '%s'" % self.tenant if has == "t" else "x::text ~ '%s'" % nodes
            each.append("SELECT '%s', count(*), md5(coalesce(string_agg(x::text, E'\\n' ORDER BY x::text), '')) FROM %s x WHERE %s" % (table, table, where))
        return {r[0]: (r[1], r[2]) for r in self.db.sql("postgres", " UNION ALL ".join(each))}
