/*
 * sync/base/log.h - one line per event on stderr.
 *
 * On a terminal readable text; else one JSON object per line behind a journal priority prefix
 * ("<6>"). Ids, names of tables and counts only. Never a value a person entered. Thread: any.
 */
#ifndef SYNC_BASE_LOG_H
#define SYNC_BASE_LOG_H

enum base_log_level {
    BASE_LOG_ERROR = 3,
    BASE_LOG_WARN = 4,
    BASE_LOG_INFO = 6,
    BASE_LOG_DEBUG = 7
};

void base_log_init(const char *program, enum base_log_level most);

/* event: a short fixed word ("push_applied"), so that logs can be counted; fmt: the sentence. */
void base_log(enum base_log_level level, const char *event, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
