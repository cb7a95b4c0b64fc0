/*
 * tests/integration/store_sql.c - SQL in a node's sealed store while its daemon does not run: what tests do to it by hand.
 *
 *   store_sql STATE_DIR SQL      prints the rows, columns apart by "|"
 */
#include <stdio.h>
#include <stdlib.h>

#include "node/cryptvfs/cryptvfs.h"
#include "node/keys/keys.h"
#include "node/store/internal.h"

static int print_row(void *user, int n, char **values, char **names)
{
    (void)user;
    (void)names;
    for (int i = 0; i < n; i++)
        (void)printf("%s%s", i == 0 ? "" : "|", values[i] == NULL ? "" : values[i]);
    (void)printf("\n");
    return 0;
}

int main(int argc, char **argv)
{
    static const char vfs[] = "store-sql";
    char path[4096];
    char key_file[4096];
    struct base_err err = {0};
    struct node_keys *keys = NULL;
    struct node_db *db = calloc(1, sizeof *db);
    struct node_keys_source source = {.passphrase_fd = -1, .key_file = key_file};
    if (argc != 3 || db == NULL) {
        (void)fprintf(stderr, "store_sql STATE_DIR SQL\n");
        free(db);
        return 2;
    }
    (void)snprintf(path, sizeof path, "%s/node.db", argv[1]);
    (void)snprintf(key_file, sizeof key_file, "%s/wrapping.key", argv[1]);
    connection_setup();
    int rc = node_keys_open(argv[1], &source, &keys, &err);
    if (rc == 0)
        rc = node_cryptvfs_register(vfs, node_keys_data(keys), &err);
    if (rc == 0)
        rc = connection_open(db, vfs, path, true, false, &err);
    if (rc == 0 && sqlite3_exec(db->sql, argv[2], print_row, NULL, NULL) != SQLITE_OK)
        rc = store_fail(db, &err, "store_sql");
    if (rc != 0)
        (void)fprintf(stderr, "%s\n", err.text);
    connection_close(db);
    node_keys_free(keys);
    free(db);
    return rc == 0 ? 0 : 1;
}
