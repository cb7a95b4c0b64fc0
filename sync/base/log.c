#include "sync/base/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sync/base/buf.h"

enum { LOG_LINE_BYTES_MAX = 4096, LOG_TEXT_BYTES_MAX = 1024 };

static const char *log_program = "everward";
static enum base_log_level log_most = BASE_LOG_INFO;
static bool log_terminal;

void base_log_init(const char *program, enum base_log_level most)
{
    log_program = program;
    log_most = most;
    log_terminal = isatty(STDERR_FILENO) != 0;
}

static const char *level_name(enum base_log_level level)
{
    switch (level) {
    case BASE_LOG_ERROR:
        return "error";
    case BASE_LOG_WARN:
        return "warning";
    case BASE_LOG_INFO:
        return "info";
    case BASE_LOG_DEBUG:
        break;
    }
    return "debug";
}

void base_log(enum base_log_level level, const char *event, const char *fmt, ...)
{
    if (level > log_most)
        return;
    char text[LOG_TEXT_BYTES_MAX];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);

    struct timespec now;
    struct tm tm;
    char at[40];
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &tm);
    size_t n = strftime(at, sizeof at, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(at + n, sizeof at - n, ".%03ldZ", now.tv_nsec / 1000000);

    struct base_buf line;
    base_buf_init(&line, LOG_LINE_BYTES_MAX * 2);
    if (log_terminal) {
        base_buf_printf(&line, "%s %-7s %-18s %s\n", at, level_name(level), event, text);
    } else {
        base_buf_printf(&line,
                        "<%d>{\"at\":\"%s\",\"program\":\"%s\",\"level\":\"%s\",\"event\":\"%s\",",
                        (int)level, at, log_program, level_name(level), event);
        base_buf_str(&line, "\"text\":");
        base_buf_json_str(&line, text);
        base_buf_str(&line, "}\n");
    }
    if (base_buf_check(&line) == 0) /* one write: lines of several threads do not mix */
        (void)!write(STDERR_FILENO, line.data, line.len);
    base_buf_release(&line);
}
