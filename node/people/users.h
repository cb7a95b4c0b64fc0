/*
 * node/people/users.h - the list of people as a supervisor or the command line sees it, and what they may do to one.
 *
 * Thread:     jobs. The sessions in memory are ended on the loop afterwards (node_people_end_staff).
 */
#ifndef NODE_PEOPLE_USERS_H
#define NODE_PEOPLE_USERS_H

#include "node/people/people.h"
#include "node/store/rows.h"

enum { NODE_USERS_LIST_MAX = 5000 };

struct node_user {
    struct base_uuid id;
    char username[NODE_LOGIN_NAME_BYTES_MAX + 1], name[256];
    char roles[1024], wards[2048]; /* JSON lists of text */
    char revoked_at[40], valid_until_at[40];
    bool usable, has_password, has_pin;
    int sessions;
    int64_t failures, failed_ms, last_login_ms; /* 0: none */
};
/* By name. */
int node_user_each(struct node_db *db, int64_t now_ms, void *user,
                   bool (*cb)(void *user, const struct node_user *u), struct base_err *err);
/* Forgets failed logins. */
int node_user_unlock(struct node_db *db, const struct node_author *author,
                     const struct base_uuid *id, int64_t now_ms, struct base_err *err);
int node_user_logout(struct node_db *db, const struct node_author *author,
                     const struct base_uuid *id, int64_t now_ms, int *count, struct base_err *err);
/* By name in any case; BASE_ENOTFOUND. */
int node_user_find(struct node_db *db, const char *username, int64_t now_ms, struct base_uuid *out,
                   struct base_err *err);
/* Grows with each change of the list that this node has taken in. */
int node_staff_list_number(struct node_db *db, int64_t *out, struct base_err *err);

#endif
