#include "sync/gateway/lint.h"

#include <string.h>

struct check {
    const char *name;
    bool leak;
    const char *sql; /* one column: what is wrong. Behind the common part below */
    const char *fix;
};

/* tt: every table that has a tenant, ours or put under sync, and every part of one. */
static const char common_sql[] =
    "WITH RECURSIVE own AS (SELECT c.oid, c.oid::regclass::text AS rel, c.relkind, "
    "c.relrowsecurity, c.relforcerowsecurity, c.relowner,"
    " n.nspname, c.relname, coalesce(s.tenant_column, 'tenant_id')::name AS col, s.tbl"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " LEFT JOIN everward.sync_table s ON s.enabled AND (s.schema_name, s.table_name) = (n.nspname, "
    "c.relname)"
    " WHERE c.relkind IN ('r', 'p') AND (n.nspname IN ('everward', 'ward') OR s.tbl IS NOT NULL) "
    "AND EXISTS (SELECT FROM pg_attribute a"
    " WHERE a.attrelid = c.oid AND a.attname = coalesce(s.tenant_column, 'tenant_id') AND NOT "
    "a.attisdropped)),"
    " tt AS (SELECT * FROM own UNION SELECT c.oid, c.oid::regclass::text, c.relkind, "
    "c.relrowsecurity, c.relforcerowsecurity, c.relowner,"
    " n.nspname, c.relname, tt.col, NULL::int FROM tt JOIN pg_inherits i ON i.inhparent = tt.oid "
    "JOIN pg_class c ON c.oid = i.inhrelid"
    " JOIN pg_namespace n ON n.oid = c.relnamespace),"
    " ours AS (SELECT oid, rolname FROM pg_roles WHERE rolname IN ('everward_owner', "
    "'everward_definer', 'everward_gateway', 'everward_app',"
    " 'everward_monitor', 'everward_admin')),"
    " acl AS (SELECT tt.rel, tt.nspname, tt.relname, tt.tbl, coalesce(r.rolname, 'PUBLIC') AS "
    "grantee, "
    "x.privilege_type AS priv FROM tt"
    " JOIN pg_class c ON c.oid = tt.oid CROSS JOIN LATERAL aclexplode(coalesce(c.relacl, "
    "acldefault('r', c.relowner))) x"
    " LEFT JOIN pg_roles r ON r.oid = x.grantee),"
    " fn AS (SELECT p.oid, p.oid::regprocedure::text AS sig, p.prosecdef, p.proconfig, "
    "p.proleakproof, p.prosrc, p.proname, n.nspname,"
    " o.rolname AS owner, o.rolsuper OR o.rolbypassrls AS mighty, p.proacl, p.proowner FROM "
    "pg_proc p"
    " JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_roles o ON o.oid = p.proowner"
    " WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE "
    "'pg\\_temp%') ";

static const struct check checks[] = {
    {"rls-enabled", true, "SELECT rel FROM tt WHERE NOT relrowsecurity",
     "ALTER TABLE … ENABLE ROW LEVEL SECURITY, or SELECT everward.isolate('…')"},
    {"rls-forced", true, "SELECT rel FROM tt WHERE NOT relforcerowsecurity",
     "ALTER TABLE … FORCE ROW LEVEL SECURITY"},
    {"policy-missing", true,
     "SELECT rel FROM tt WHERE NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = tt.oid)",
     "SELECT everward.isolate('…')"},
    {"policy-form", true,
     "SELECT rel || ' policy ' || p.polname FROM tt JOIN pg_policy p ON p.polrelid = tt.oid WHERE "
     "NOT (p.polpermissive AND p.polcmd = '*'"
     " AND p.polroles = '{0}' AND coalesce(pg_get_expr(p.polqual, p.polrelid), '') = format('(%I = "
     "( SELECT everward.tenant() AS tenant))', tt.col)"
     " AND coalesce(pg_get_expr(p.polwithcheck, p.polrelid), '') = format('(%I = ( SELECT "
     "everward.tenant() AS tenant))', tt.col))",
     "DROP the policy and SELECT everward.isolate('…'): one policy, for reading and writing"},
    {"policy-count", true,
     "SELECT rel || ': ' || count(*) || ' policies' FROM tt JOIN pg_policy p ON p.polrelid = "
     "tt.oid GROUP BY rel HAVING count(*) > 1",
     "keep the one named tenant; permissive policies add up"},
    {"tenant-nullable", true,
     "SELECT rel FROM tt JOIN pg_attribute a ON a.attrelid = tt.oid AND a.attname = tt.col WHERE "
     "NOT a.attnotnull OR a.atttypid <> 'uuid'::regtype",
     "ALTER TABLE … ALTER tenant_id SET NOT NULL"},
    {"unique-key", true,
     "SELECT i.indexrelid::regclass::text FROM tt JOIN pg_index i ON i.indrelid = tt.oid AND "
     "i.indisunique JOIN pg_attribute a"
     " ON a.attrelid = tt.oid AND a.attname = tt.col WHERE i.indkey[0] <> a.attnum",
     "a unique key that does not begin with tenant_id tells of other tenants' rows: make it "
     "(tenant_id, …)"},
    {"foreign-key", true,
     "SELECT tt.rel || ' ' || k.conname FROM tt JOIN pg_constraint k ON k.conrelid = tt.oid AND "
     "k.contype = 'f' JOIN tt r ON r.oid = k.confrelid"
     " JOIN pg_attribute a ON a.attrelid = tt.oid AND a.attname = tt.col JOIN pg_attribute b ON "
     "b.attrelid = r.oid AND b.attname = r.col"
     " WHERE k.conkey[1] <> a.attnum OR k.confkey[1] <> b.attnum",
     "FOREIGN KEY (tenant_id, …) REFERENCES … (tenant_id, …)"},
    {"exclusion", true,
     "SELECT rel || ' ' || k.conname FROM tt JOIN pg_constraint k ON k.conrelid = tt.oid AND "
     "k.contype = 'x' JOIN pg_attribute a"
     " ON a.attrelid = tt.oid AND a.attname = tt.col WHERE NOT a.attnum = ANY (k.conkey)",
     "an exclusion over several tenants tells of other tenants' rows: add tenant_id WITH ="},
    {"definer-path", true,
     "SELECT sig FROM fn WHERE prosecdef AND NOT coalesce(proconfig @> '{\"search_path=pg_catalog, "
     "pg_temp\"}', false) AND (nspname IN ('everward', 'ward')"
     " OR mighty)",
     "ALTER FUNCTION … SET search_path = pg_catalog, pg_temp"},
    {"definer-owner", true,
     "SELECT sig FROM fn WHERE prosecdef AND nspname IN ('everward', 'ward') AND owner <> "
     "'everward_definer'"
     " AND NOT (proname = 'maintain' AND owner = 'everward_owner')", /* makes partitions */
     "ALTER FUNCTION … OWNER TO everward_definer"},
    {"definer-mighty", true,
     "SELECT sig FROM fn WHERE prosecdef AND mighty AND "
     "(has_function_privilege('everward_gateway', oid, 'EXECUTE')"
     " OR has_function_privilege('everward_app', oid, 'EXECUTE')) AND NOT EXISTS (SELECT FROM "
     "pg_depend d WHERE d.objid = fn.oid AND d.deptype = 'e')",
     "a function that runs as a superuser passes by row security: REVOKE it, or give it another "
     "owner"},
    {"function-public", true,
     "SELECT sig FROM fn CROSS JOIN LATERAL aclexplode(coalesce(proacl, acldefault('f', "
     "proowner))) x WHERE nspname IN ('everward', 'ward')"
     " AND x.grantee = 0 AND proname <> 'tenant'",
     "REVOKE EXECUTE ON FUNCTION … FROM PUBLIC"},
    {"seal-callable", true,
     "SELECT sig || ' by ' || r.rolname FROM fn, pg_roles r WHERE nspname = 'everward' AND proname "
     "IN ('seal', 'mac') AND NOT r.rolsuper AND r.rolcanlogin"
     " AND has_function_privilege(r.oid, fn.oid, 'EXECUTE') AND r.rolname <> 'everward_admin'",
     "REVOKE it: whoever may call it can name any tenant"},
    {"tenant-function", true,
     "SELECT 'everward.tenant()' WHERE NOT EXISTS (SELECT FROM fn WHERE nspname = 'everward' AND "
     "proname = 'tenant' AND prosecdef"
     " AND owner = 'everward_definer' AND prosrc LIKE '%everward.mac(''context''%' AND prosrc LIKE "
     "'%trusted_session()%')",
     "it was replaced: restore it from schema/central/0002_context.sql"},
    {"leakproof", true,
     "SELECT sig FROM fn WHERE proleakproof AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid "
     "= fn.oid AND d.deptype = 'e')",
     "ALTER FUNCTION … NOT LEAKPROOF: it would run before the policy"},
    {"view", true,
     "SELECT DISTINCT v.oid::regclass::text FROM pg_class v JOIN pg_rewrite w ON w.ev_class = "
     "v.oid JOIN pg_depend d ON d.objid = w.oid"
     " AND d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass JOIN tt ON "
     "tt.oid = d.refobjid WHERE v.relkind = 'v'"
     " AND NOT coalesce(v.reloptions @> '{security_invoker=true}' OR v.reloptions @> "
     "'{security_invoker=on}' OR v.reloptions @> '{security_invoker=1}', false)",
     "ALTER VIEW … SET (security_invoker = true)"},
    {"materialized-view", true,
     "SELECT DISTINCT v.oid::regclass::text FROM pg_class v JOIN pg_rewrite w ON w.ev_class = "
     "v.oid JOIN pg_depend d ON d.objid = w.oid"
     " AND d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass JOIN tt ON "
     "tt.oid = d.refobjid WHERE v.relkind = 'm'",
     "a materialized view holds every tenant's rows without a policy: drop it"},
    {"rule", true,
     "SELECT rel || ' ' || w.rulename FROM tt JOIN pg_rewrite w ON w.ev_class = tt.oid",
     "DROP RULE"},
    {"role-mighty", true,
     "SELECT rolname FROM pg_roles WHERE rolname IN ('everward_owner', 'everward_definer', "
     "'everward_gateway', 'everward_app', 'everward_monitor')"
     " AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolreplication)",
     "ALTER ROLE … NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOREPLICATION"},
    {"role-login", true,
     "SELECT rolname FROM pg_roles WHERE rolname IN ('everward_owner', 'everward_definer') AND "
     "rolcanlogin",
     "ALTER ROLE … NOLOGIN"},
    {"role-member", true,
     "SELECT m.rolname || ' is a member of ' || r.rolname FROM pg_auth_members x JOIN pg_roles m "
     "ON m.oid = x.member JOIN pg_roles r ON r.oid = x.roleid"
     " WHERE NOT m.rolsuper AND ((r.rolname IN ('everward_definer', 'everward_admin', "
     "'everward_gateway')) OR (r.rolname = 'everward_owner'"
     " AND m.rolname <> 'everward_admin') OR m.rolname IN ('everward_gateway', 'everward_definer', "
     "'everward_monitor'))",
     "REVOKE the membership"},
    {"owner", true,
     "SELECT rel || ' belongs to ' || r.rolname FROM tt JOIN pg_roles r ON r.oid = tt.relowner "
     "WHERE r.rolname IN ('everward_gateway', 'everward_app',"
     " 'everward_definer', 'everward_monitor') OR (tt.nspname IN ('everward', 'ward') AND "
     "r.rolname <> 'everward_owner')",
     "ALTER TABLE … OWNER TO everward_owner: an owner may switch row security off"},
    {"grant-public", true, "SELECT rel || ' ' || priv FROM acl WHERE grantee = 'PUBLIC'",
     "REVOKE ALL ON … FROM PUBLIC"},
    {"grant-dangerous", true,
     "SELECT rel || ' ' || priv || ' to ' || grantee FROM acl WHERE priv IN ('TRUNCATE', "
     "'TRIGGER', 'REFERENCES') AND grantee IN ('everward_gateway',"
     " 'everward_app', 'everward_definer', 'everward_monitor')",
     "REVOKE it: TRUNCATE passes by row security, TRIGGER and REFERENCES look past it"},
    {"grant-internal", true,
     "SELECT rel || ' ' || priv || ' to ' || grantee FROM acl WHERE nspname = 'everward' AND tbl "
     "IS NULL AND grantee IN ('everward_app', 'everward_monitor')"
     " AND NOT (relname IN ('audit_trail', 'audit_witness', 'audit_alarm') AND priv = 'SELECT')",
     "REVOKE it: other applications have no business in the sync tables"},
    {"grant-secret", true,
     "SELECT 'everward.secret to ' || r.rolname FROM pg_roles r WHERE NOT r.rolsuper AND r.rolname "
     "NOT IN ('everward_definer', 'everward_owner',"
     " 'everward_admin') AND r.rolname NOT LIKE 'pg\\_%' AND has_table_privilege(r.oid, "
     "'everward.secret', 'SELECT')",
     "REVOKE it: with the key of the seal any tenant can be entered"},
    {"grant-schema", true,
     "SELECT n.nspname || ' CREATE to ' || coalesce(r.rolname, 'PUBLIC') FROM pg_namespace n CROSS "
     "JOIN LATERAL aclexplode(n.nspacl) x"
     " LEFT JOIN pg_roles r ON r.oid = x.grantee WHERE n.nspname IN ('everward', 'ward') AND "
     "x.privilege_type = 'CREATE' AND coalesce(r.rolname, 'PUBLIC')"
     " IN ('PUBLIC', 'everward_gateway', 'everward_app', 'everward_monitor')",
     "REVOKE CREATE ON SCHEMA …"},
    {"grant-default", true,
     "SELECT 'default privileges for ' || coalesce(r.rolname, 'PUBLIC') FROM pg_default_acl d JOIN "
     "pg_namespace n ON n.oid = d.defaclnamespace"
     " CROSS JOIN LATERAL aclexplode(d.defaclacl) x LEFT JOIN pg_roles r ON r.oid = x.grantee "
     "WHERE n.nspname IN ('everward', 'ward')"
     " AND coalesce(r.rolname, 'PUBLIC') IN ('PUBLIC', 'everward_gateway', 'everward_app', "
     "'everward_monitor')",
     "ALTER DEFAULT PRIVILEGES … REVOKE: tables to come would be open from the start"},
    {"capture-trigger", true,
     "SELECT own.rel || ' zzzz_everward_' || t.name FROM own CROSS JOIN (VALUES ('insert'), "
     "('update'), ('delete'), ('rev'), ('row'), ('truncate')) t (name)"
     " WHERE own.tbl IS NOT NULL AND NOT EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = "
     "own.oid AND g.tgname = 'zzzz_everward_' || t.name"
     " AND g.tgenabled = 'A')",
     "ALTER TABLE … ENABLE ALWAYS TRIGGER …, then everward verify on the nodes: what changed "
     "meanwhile was not captured"},
    {"setting", true,
     "SELECT coalesce(r.rolname, 'every role') || ': ' || split_part(c, '=', 1) FROM "
     "pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole,"
     " unnest(s.setconfig) c WHERE split_part(c, '=', 1) IN ('everward.context', "
     "'everward.tenant_id', 'everward.txn', 'row_security',"
     " 'session_replication_role')",
     "ALTER ROLE/DATABASE … RESET …: no session may begin in a tenant or without row security"},
    {"publication", true,
     "SELECT p.pubname || ' with ' || tt.rel FROM tt JOIN pg_publication_tables pt ON "
     "(pt.schemaname, pt.tablename) = (tt.nspname, tt.relname)"
     " JOIN pg_publication p ON p.pubname = pt.pubname",
     "logical replication passes by row security: DROP PUBLICATION, or know well who reads it"},
    {"minor-version", false,
     "SELECT 'PostgreSQL ' || current_setting('server_version') WHERE "
     "current_setting('server_version_num')::int < 150020",
     "update: older minors disclose values through ON CONFLICT (composite keys hold against it "
     "here)"},
};

static int run_check(PGconn *pg, const struct check *c, void *user, gw_finding_cb found, int *count,
                     struct base_err *err)
{
    char sql[16384];
    size_t head = sizeof common_sql - 1;
    size_t tail = strlen(c->sql);
    BASE_ASSERT(head + tail < sizeof sql);
    memcpy(sql, common_sql, head);
    memcpy(sql + head, c->sql, tail + 1);
    PGresult *r = PQexec(pg, sql);
    int rc = 0;
    if (PQresultStatus(r) != PGRES_TUPLES_OK) {
        const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
        rc = state != NULL && (strcmp(state, "42P01") == 0 || strcmp(state, "3F000") == 0)
                 ? base_fail(err, BASE_ENOTFOUND, "the database has no schema of Everward's")
                 : base_fail(err, BASE_EUNREACHABLE, "check %s: sqlstate %s", c->name,
                             state == NULL ? "none" : state);
    }
    *count = rc == 0 ? PQntuples(r) : 0;
    for (int i = 0; i < *count; i++)
        found(user, &(struct gw_finding){c->name, c->leak, PQgetvalue(r, i, 0), c->fix});
    PQclear(r);
    return rc;
}

int gw_lint(PGconn *pg, void *user, gw_finding_cb found,
            void (*done)(void *user, const char *check, int count), struct base_err *err)
{
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++) {
        int count = 0;
        int rc = run_check(pg, &checks[i], user, found, &count, err);
        if (rc != 0)
            return rc;
        if (done != NULL)
            done(user, checks[i].name, count);
    }
    return 0;
}
