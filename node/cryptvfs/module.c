/*
 * node/cryptvfs/module.c - everward_sqlite.so: the sqlite3 shell opens a store.
 *
 *   EVERWARD_KEY_FILE=wrapping.key EVERWARD_KEYS_DIR=/var/lib/everward sqlite3
 *   sqlite> .load ./everward_sqlite
 *   sqlite> .open 'file:/var/lib/everward/node.db?mode=ro'
 *
 * With EVERWARD_KEYS_DIR the data key comes out of that folder's keys.sealed: opened by the systemd
 * credential, a passphrase (EVERWARD_PASSPHRASE_FILE, or asked for on the terminal), or
 * EVERWARD_KEY_FILE. Without it EVERWARD_KEY_FILE holds the data key itself, and without both the
 * terminal is asked for its 64 digits. The sealed VFS is the default one after loading, so plain
 * databases need ?vfs=unix.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/cryptvfs/internal.h"
#include "node/keys/internal.h"

SQLITE_EXTENSION_INIT1

#define MODULE_VFS "everward"

/* Every new database of this process gets room for the seals, as node_cryptvfs_open would give it.
 */
static int reserve_on_open(sqlite3 *db, char **message, const sqlite3_api_routines *api)
{
    (void)message;
    (void)api;
    if (node_cryptvfs_sealed(db, "main"))
        return node_cryptvfs_prepare(db, "main", NULL) == 0 ? SQLITE_OK : SQLITE_ERROR;
    return SQLITE_OK;
}

static int key_from_keys(const char *dir, const char *key_file, struct base_err *err)
{
    struct node_keys *keys = NULL;
    struct node_keys_source source = {.credential = "everward.key",
                                      .key_file = key_file,
                                      .passphrase_fd = -1,
                                      .ask_terminal = !key_file || !key_file[0]};
    int rc = node_keys_open(dir, &source, &keys, err);
    if (rc == 0)
        rc = node_cryptvfs_register(MODULE_VFS, node_keys_data(keys), err);
    node_keys_free(keys);
    return rc;
}

static int key_alone(const char *key_file, struct base_err *err)
{
    struct node_keys_wrap key = {.bytes = NULL};
    int rc = node_keys_key_read(key_file, &key, err);
    if (rc == 0)
        rc = node_cryptvfs_register(MODULE_VFS, key.bytes, err);
    node_keys_wrap_release(&key);
    return rc;
}

int sqlite3_everwardsqlite_init(sqlite3 *db, char **message, const sqlite3_api_routines *api);

__attribute__((visibility("default"))) int
sqlite3_everwardsqlite_init(sqlite3 *db, char **message, const sqlite3_api_routines *api)
{
    struct base_err err;
    const char *dir = getenv("EVERWARD_KEYS_DIR");
    const char *key_file = getenv("EVERWARD_KEY_FILE");
    (void)db;
    SQLITE_EXTENSION_INIT2(api);
    if (sqlite3_vfs_find(MODULE_VFS))
        return SQLITE_OK_LOAD_PERMANENTLY;
    int rc = dir && dir[0] ? key_from_keys(dir, key_file, &err) : key_alone(key_file, &err);
    if (rc != 0) {
        *message = sqlite3_mprintf("%s", err.text);
        return SQLITE_ERROR;
    }
    sqlite3_vfs_register(sqlite3_vfs_find(MODULE_VFS), 1);
    sqlite3_auto_extension((void (*)(void))reserve_on_open);
    return SQLITE_OK_LOAD_PERMANENTLY;
}
