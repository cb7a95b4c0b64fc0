#include "tests/fuzz/replica.h"

#include <ftw.h>

enum { LOOK_EVERY = 256, WALK_FILES_MAX = 8 };

static struct fixture replica;

static int remove_one(const char *path, const struct stat *st, int what, struct FTW *at)
{
    return remove(path);
}

static void remove_folder(void)
{
    (void)nftw(replica.dir, remove_one, WALK_FILES_MAX, FTW_DEPTH | FTW_PHYS);
}

struct fixture *fuzz_replica(bool filled)
{
    struct fixture *f = &replica;
    if (f->store != NULL)
        return f;
    fixture_parent = "/dev/shm";
    if (filled) {
        fixture_ready(f);
        const char *task = feed_row("task", 'i', uuid_n(3), 1, "null,\"open\",null");
        BASE_ASSERT(feed_cut(f, 1, 0, task) == 0);
        BASE_ASSERT(edit(f, CORE_OP_INSERT, "patient", uuid_n(1),
                         (const char *const[]){"family_name", "Roe", NULL}, NULL) == 0);
        BASE_ASSERT(edit(f, CORE_OP_INSERT, "patient", uuid_n(2),
                         (const char *const[]){"family_name", "Doe", NULL}, NULL) == 0);
    } else {
        fixture_make(f);
        BASE_ASSERT(apply_catalog(f, test_catalog) == 0);
        BASE_ASSERT(begin_fill(f, 0) == 0);
    }
    (void)atexit(remove_folder);
    return f;
}

struct attempt {
    fuzz_apply_cb apply;
    const char *body;
    size_t len;
    int rc;
};

static int run_attempt(struct node_db *db, void *arg, struct base_err *err)
{
    struct attempt *a = arg;
    a->rc = a->apply(db, a->body, a->len, err);
    return BASE_EINVALID;
}

static void look(struct fixture *f)
{
    static int64_t before[3] = {-2};
    struct node_sync_state s = state_of(f);
    int64_t now[3] = {s.cursor, s.last_seq, s.pending};
    if (before[0] == -2)
        memcpy(before, now, sizeof before);
    BASE_ASSERT(memcmp(before, now, sizeof before) == 0);
}

void fuzz_try(struct fixture *f, fuzz_apply_cb apply, const uint8_t *data, size_t size)
{
    static unsigned turn;
    /* A copy that ends where the input ends: reading on is seen. */
    char *body = malloc(size > 0 ? size : 1);
    if (body == NULL)
        return;
    memcpy(body, data, size);
    struct attempt a = {apply, body, size, 0};
    int rc = on_writer(f, run_attempt, &a);
    BASE_ASSERT(rc != 0 && a.rc != BASE_ENOMEM && a.rc != BASE_EIO);
    BASE_ASSERT(f->failed == 0);
    free(body);
    if (turn++ % LOOK_EVERY == 0)
        look(f);
}
