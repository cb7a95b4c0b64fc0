/*
 * Argon2id on libuv's pool: at most checking_max at a time, the others wait in a queue of their own, so
 * that the pool stays free for whatever else needs it and nothing of this runs on the loop.
 */
#include "node/people/internal.h"

static void check_run(uv_work_t *work)
{
    struct people_check *c = work->data;
    c->run(c);
}

static void check_done(uv_work_t *work, int status)
{
    struct people_check *c = work->data;
    struct node_people *p = c->people;
    p->checking--;
    people_check_next(p);
    c->done(c, status == 0 && !p->closing);
}

static void start(struct node_people *p, struct people_check *c)
{
    c->work.data = c;
    p->checking++;
    if (uv_queue_work(p->loop, &c->work, check_run, check_done) != 0) {
        p->checking--;
        c->done(c, false);
    }
}

void people_check_next(struct node_people *p)
{
    while (p->waiting != NULL &&
           (p->closing || (p->dummy_ready && p->checking < p->checking_max))) {
        struct people_check *c = p->waiting;
        p->waiting = c->next;
        if (p->waiting == NULL)
            p->waiting_end = &p->waiting;
        p->waiting_count--;
        c->next = NULL;
        if (p->closing)
            c->done(c, false);
        else
            start(p, c);
    }
}

void people_check_add(struct node_people *p, struct people_check *c)
{
    c->people = p;
    *p->waiting_end = c;
    p->waiting_end = &c->next;
    p->waiting_count++;
    people_check_next(p);
}
