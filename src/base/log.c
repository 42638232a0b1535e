#include "base/log.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/clock.h"
#include "base/log_file.h"
#include "base/log_out.h"

static enum sl_log_level least_level = SL_LOG_INFO;
static enum sl_log_format line_format = SL_LOG_AUTO;
static __thread const char *thread_name;
static _Atomic int errors_fd = -1;

static const char *const level_names[] = {"debug", "info", "warn", "error"};

enum { LINE_MAX_LEN = 16384 };

void sl_log_setup(enum sl_log_level least, enum sl_log_format format)
{
    bool is_for_people = !sl_log_file_is_open() && isatty(STDERR_FILENO);

    least_level = least;
    line_format = format != SL_LOG_AUTO ? format : is_for_people ? SL_LOG_HUMAN : SL_LOG_JSON;
    sl_log_out_open();
}

int sl_log_level_parse(struct sl_str name, enum sl_log_level *out)
{
    for (size_t i = 0; i < SL_COUNT(level_names); i++) {
        if (sl_str_eq(name, sl_str_c(level_names[i]))) {
            *out = (enum sl_log_level)i;
            return 0;
        }
    }
    return -1;
}

void sl_log_copy_errors(int fd)
{
    atomic_store(&errors_fd, fd);
}

bool sl_log_is_on(enum sl_log_level level)
{
    return level >= least_level;
}

void sl_log_thread_name(const char *name)
{
    thread_name = name;
}

/* Length of the UTF-8 sequence at `p`, or 0 when it is not a valid one (a log line must stay valid
 * JSON). */
static size_t utf8_len(const unsigned char *p, size_t len)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = p[0] < 0x80             ? 1
               : (p[0] & 0xe0) == 0xc0 ? 2
               : (p[0] & 0xf0) == 0xe0 ? 3
               : (p[0] & 0xf8) == 0xf0 ? 4
                                       : 0;
    uint32_t code;

    if (n < 2 || n > len)
        return n == 1 ? 1 : 0;
    code = p[0] & (0xff >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (p[i] & 0x3f);
    }
    return code < least[n] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? 0 : n;
}

static void put_quoted(struct sl_buf *b, struct sl_str s)
{
    sl_buf_append(b, "\"", 1);
    for (size_t i = 0; i < s.len;) {
        unsigned char c = (unsigned char)s.p[i];
        size_t n;

        if (c == '"' || c == '\\') {
            sl_buf_printf(b, "\\%c", c);
            i++;
        } else if (c == '\n') {
            sl_buf_append(b, "\\n", 2);
            i++;
        } else if (c < 0x20 || c == 0x7f) {
            sl_buf_printf(b, "\\u%04x", c);
            i++;
        } else if ((n = utf8_len((const unsigned char *)s.p + i, s.len - i)) == 0) {
            sl_buf_append(b, "\\ufffd", 6);
            i++;
        } else {
            sl_buf_append(b, s.p + i, n);
            i += n;
        }
    }
    sl_buf_append(b, "\"", 1);
}

static void put_value(struct sl_buf *b, const struct sl_field *f)
{
    switch (f->kind) {
    case SL_FIELD_STR:
        put_quoted(b, sl_str(f->v.str.p, SL_MIN(f->v.str.len, 4096)));
        break;
    case SL_FIELD_INT:
        sl_buf_printf(b, "%" PRId64, f->v.num);
        break;
    case SL_FIELD_DOUBLE:
        if (f->v.dbl - f->v.dbl == 0)
            sl_buf_printf(b, "%.6g", f->v.dbl);
        else
            sl_buf_append(b, "null", 4); /* JSON has no infinity and no NaN */
        break;
    case SL_FIELD_BOOL:
        sl_buf_printf(b, "%s", f->v.num ? "true" : "false");
        break;
    case SL_FIELD_END:
        break;
    }
}

static void put_json(struct sl_buf *b, const char *when, const char *level, const char *msg,
                     const struct sl_field *f)
{
    sl_buf_printf(b, "{\"ts\":\"%s\",\"level\":\"%s\",\"msg\":", when, level);
    put_quoted(b, sl_str_c(msg));
    if (thread_name != NULL)
        sl_buf_printf(b, ",\"thread\":\"%s\"", thread_name);
    for (; f->kind != SL_FIELD_END && sl_buf_len(b) < LINE_MAX_LEN; f++) {
        sl_buf_append(b, ",", 1);
        put_quoted(b, sl_str_c(f->key));
        sl_buf_append(b, ":", 1);
        put_value(b, f);
    }
    sl_buf_append(b, "}\n", 2);
}

static void put_human(struct sl_buf *b, const char *when, const char *level, const char *msg,
                      const struct sl_field *f)
{
    sl_buf_printf(b, "%.8s %-5s %s", when + 11, level, msg);
    for (; f->kind != SL_FIELD_END && sl_buf_len(b) < LINE_MAX_LEN; f++) {
        sl_buf_printf(b, "  %s=", f->key);
        put_value(b, f);
    }
    sl_buf_append(b, "\n", 1);
}

bool sl_log_may(struct sl_log_limit *limit, unsigned *n_suppressed)
{
    uint64_t second = sl_clock_coarse_ms() / 1000;

    if (second != limit->second) {
        limit->second = second;
        limit->n_lines = 0;
    }
    if (limit->n_lines >= SL_LOG_PER_SECOND) {
        limit->n_suppressed++;
        return false;
    }
    limit->n_lines++;
    *n_suppressed = limit->n_suppressed;
    limit->n_suppressed = 0;
    return true;
}

/* For whoever waits at a terminal for the program to be ready. */
static void copy_error(const char *when, const char *msg, const struct sl_field *fields)
{
    int fd = atomic_load(&errors_fd);
    struct sl_buf line = {0};
    ssize_t n;

    if (fd < 0)
        return;
    put_human(&line, when, level_names[SL_LOG_ERROR], msg, fields);
    n = write(fd, sl_buf_at(&line), sl_buf_len(&line));
    (void)n; /* it is in the log as well */
    sl_buf_clear(&line);
}

static bool put_line(enum sl_log_level level, const char *msg, const struct sl_field *fields)
{
    struct sl_buf line = {0};
    uint64_t now = sl_clock_wall_ms();
    time_t seconds = (time_t)(now / 1000);
    char day[32], when[48];
    struct tm tm;
    bool is_out;

    gmtime_r(&seconds, &tm);
    strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(when, sizeof(when), "%s.%03uZ", day, (unsigned)(now % 1000));
    if (level == SL_LOG_ERROR)
        copy_error(when, msg, fields);
    if (line_format == SL_LOG_HUMAN)
        put_human(&line, when, level_names[level], msg, fields);
    else
        put_json(&line, when, level_names[level], msg, fields);
    is_out = sl_log_out(sl_buf_at(&line), sl_buf_len(&line));
    sl_buf_clear(&line);
    return is_out;
}

void sl_log(enum sl_log_level level, const char *msg, const struct sl_field *fields)
{
    unsigned n_lost;

    if (put_line(level, msg, fields) && (n_lost = sl_log_out_lost()) > 0) {
        struct sl_field lost[] = {sl_f_int("lines", n_lost), {0}};

        put_line(SL_LOG_WARN, "lines before this one are lost: they could not be written", lost);
    }
}
