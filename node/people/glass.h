/*
 * node/people/glass.h - break-glass: one member of staff, one patient, an hour, a reason, a later judgement.
 *
 * Thread:     jobs; what sessions must learn afterwards is told on the loop (node_people_glass_*).
 * Invariant:  begun and audited in one transaction; it only ends, and only earlier than it would. Nobody judges
 *             their own.
 * Limits:     NODE_GLASS_MAX at a time for one person.
 */
#ifndef NODE_PEOPLE_GLASS_H
#define NODE_PEOPLE_GLASS_H

#include "node/people/people.h"
#include "node/store/rows.h"

enum {
    NODE_GLASS_LIFE_MS = 60 * 60 * 1000,
    NODE_GLASS_TEXT_BYTES_MIN = 10,
    NODE_GLASS_TEXT_BYTES_MAX = 500,
    NODE_GLASS_LIST_MAX = 200
};

struct node_glass_reason {
    const char *code, *text;
};
extern const struct node_glass_reason node_glass_reasons[]; /* code NULL ends */
bool node_glass_is_reason(const char *code);

struct node_glass_entry {
    struct node_glass glass;
    struct base_uuid staff_id;
    char username[NODE_LOGIN_NAME_BYTES_MAX + 1], name[256], device[NODE_DEVICE_BYTES_MAX + 1];
    char text[NODE_GLASS_TEXT_BYTES_MAX + 1], verdict[16], note[NODE_GLASS_TEXT_BYTES_MAX + 1];
    char reviewer[NODE_LOGIN_NAME_BYTES_MAX + 1];
    int64_t begun_ms, ended_ms, reviewed_ms; /* the latter two 0: not */
    int reads, writes;
};

/* BASE_ENOTFOUND: no such patient here. BASE_EFULL: too many at a time. */
int node_glass_begin(struct node_db *db, const struct node_author *author,
                     const struct base_uuid *patient_id, const char *reason, const char *text,
                     int64_t now_ms, struct node_glass *out, struct base_err *err);
/* BASE_ENOTFOUND: not one of the author's that is under way. */
int node_glass_end(struct node_db *db, const struct node_author *author, const struct base_uuid *id,
                   int64_t now_ms, struct base_err *err);
/* BASE_EDENIED: one's own. BASE_EEXISTS: judged already. */
int node_glass_review(struct node_db *db, const struct node_author *author,
                      const struct base_uuid *id, const char *verdict, const char *note,
                      int64_t now_ms, struct base_err *err);
int node_glass_get(struct node_db *db, const struct base_uuid *id, struct node_glass_entry *out,
                   struct base_err *err);
/* staff_id NULL: everybody's. state: open, reviewed or all. Newest first. */
int node_glass_each(struct node_db *db, const struct base_uuid *staff_id, const char *state,
                    void *user, bool (*cb)(void *user, const struct node_glass_entry *e),
                    struct base_err *err);
int node_glass_count_use(struct node_db *db, const struct base_uuid *id, bool write,
                         struct base_err *err);

#endif
