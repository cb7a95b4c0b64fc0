/* The replica's file: made at setup, and what is read from it when it is opened. */

#include "node/cryptvfs/cryptvfs.h"
#include "node/store/internal.h"
#include "sync/seal/seal.h"

static const char *const id_names[] = {"_tenant_id", "_site_id", "_node_id"};
static const char *const names[] = {"_tenant_name", "_site_name", "_node_name"};

static int identity_store(struct node_db *db, const struct node_identity *id, struct base_err *err)
{
    const struct base_uuid *ids[] = {&id->tenant_id, &id->site_id, &id->node_id};
    const char *texts[] = {id->tenant_name, id->site_name, id->node_name};
    int rc = meta_set_i64(db, "_incarnation", id->incarnation, err);
    for (int i = 0; rc == 0 && i < 3; i++) {
        char text[BASE_UUID_CHARS + 1];
        base_uuid_format(ids[i], text);
        rc = meta_set(db, id_names[i], text, err);
        if (rc == 0)
            rc = meta_set(db, names[i], texts[i], err);
    }
    return rc == 0 && id->training ? meta_set_i64(db, "_training", 1, err) : rc;
}

int identity_rename(struct node_db *db, const struct node_identity *id, struct base_err *err)
{
    const char *texts[] = {id->tenant_name, id->site_name, id->node_name};
    char site[BASE_UUID_CHARS + 1];
    base_uuid_format(&id->site_id, site);
    int rc = meta_set(db, "_site_id", site, err);
    for (int i = 0; rc == 0 && i < 3; i++)
        rc = meta_set(db, names[i], texts[i], err);
    return rc;
}

int identity_load(struct node_db *db, struct node_identity *out, struct base_err *err)
{
    struct base_uuid *ids[] = {&out->tenant_id, &out->site_id, &out->node_id};
    char *texts[] = {out->tenant_name, out->site_name, out->node_name};
    int64_t training = 0;
    int rc = meta_i64(db, "_incarnation", 0, &out->incarnation, err);
    if (rc == 0)
        rc = meta_i64(db, "_training", 0, &training, err);
    out->training = training != 0;
    for (int i = 0; rc == 0 && i < 3; i++) {
        char text[64];
        rc = meta_text(db, id_names[i], text, sizeof text, err);
        if (rc == 0 && !base_uuid_parse(ids[i], text, strlen(text)))
            rc = base_fail(err, BASE_ENOTFOUND, "the replica belongs to nobody yet");
        if (rc == 0)
            rc = meta_text(db, names[i], texts[i], sizeof out->tenant_name, err);
    }
    return rc;
}

static int head_load(struct node_db *db, const char *sql, int64_t *n, uint8_t *chain,
                     struct base_err *err)
{
    struct node_stmt *st = NULL;
    int rc = stmt_get(db, &st, sql, err);
    if (rc != 0)
        return rc;
    rc = node_sql_step(st, err);
    if (rc == 1) {
        size_t len = 0;
        const void *p = node_sql_col_blob(st, 1, &len);
        rc = 0;
        *n = node_sql_col_i64(st, 0);
        if (len == CORE_CHAIN_BYTES)
            memcpy(chain, p, CORE_CHAIN_BYTES);
        else
            rc = base_fail(err, BASE_ECORRUPT, "the chain at %lld is not whole", (long long)*n);
    }
    node_sql_done(st);
    return rc;
}

int heads_load(struct node_db *db, struct base_err *err)
{
    int64_t incarnation = 0;
    int64_t begins = 0;
    db->heads.seq = db->heads.audit = 0;
    audit_chain_start(db->heads.audit_chain, db->identity);
    int rc = head_load(db, "SELECT seq, chain FROM _change ORDER BY seq DESC LIMIT 1",
                       &db->heads.seq, db->heads.chain, err);
    if (rc == 0)
        rc = life_start(db, &incarnation, &begins, err);
    if (rc == 0 && db->heads.seq <= begins)
        seal_chain_start(db->heads.chain, &db->identity->node_id, incarnation);
    if (rc == 0)
        rc = head_load(db, "SELECT n, chain FROM _audit ORDER BY n DESC LIMIT 1", &db->heads.audit,
                       db->heads.audit_chain, err);
    return rc;
}

static int create_in(struct node_db *db, const struct node_identity *id, struct base_err *err)
{
    struct node_identity there = {.incarnation = 0};
    int rc = connection_migrate(db, err);
    if (rc != 0)
        return rc;
    if (identity_load(db, &there, NULL) == 0)
        return base_fail(err, BASE_EEXISTS, "the replica belongs to node %s already",
                         there.node_name);
    rc = connection_exec(db, "BEGIN IMMEDIATE", err);
    if (rc == 0)
        rc = identity_store(db, id, err);
    if (rc == 0)
        rc = connection_exec(db, "COMMIT", err);
    return rc;
}

int node_store_create(const char *dir, const uint8_t data_key[32], const struct node_identity *id,
                      struct base_err *err)
{
    static const char vfs[] = "everward-setup";
    char path[4096];
    struct node_db *db = calloc(1, sizeof *db);
    if (db == NULL)
        return base_fail(err, BASE_ENOMEM, "out of memory for the replica");
    if (snprintf(path, sizeof path, "%s/node.db", dir) >= (int)sizeof path) {
        free(db);
        return base_fail(err, BASE_EINVALID, "the replica's folder has too long a name");
    }
    connection_setup();
    int rc = node_cryptvfs_register(vfs, data_key, err);
    if (rc == 0) {
        rc = connection_open(db, vfs, path, true, true, err);
        if (rc == 0)
            rc = create_in(db, id, err);
        connection_close(db);
        (void)node_cryptvfs_unregister(vfs);
    }
    free(db);
    return rc == 0 ? 0 : base_err_prefix(err, rc, "%s", path);
}
