/* node/store/audit_entry.h - one audit entry's canonical line and its step of the chain: audit.c, audit_read.c. */
#ifndef NODE_STORE_AUDIT_ENTRY_H
#define NODE_STORE_AUDIT_ENTRY_H

#include "node/store/internal.h"
#include "sync/base/clock.h"
#include "sync/seal/seal.h"

enum { AUDIT_LINE_BYTES_MAX = 64 * 1024 };

struct audit_entry {
    char at[BASE_TIME_CHARS + 1];
    const struct node_author *author;
    const char *action, *table, *outcome, *detail;
    const struct base_uuid *row_id, *patient_id;
};

void audit_entry_line(struct base_buf *b, int64_t n, const struct audit_entry *e);
void audit_chain_step(const struct node_db *db, uint8_t chain[CORE_CHAIN_BYTES],
                      const struct base_buf *line);
/* From the newest checkpoint to entry n. BASE_ECORRUPT: not what was written. */
struct node_audit_head;
int audit_verify_to(struct node_db *db, int64_t n, struct node_audit_head *out,
                    struct base_err *err);

#endif
