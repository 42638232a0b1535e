/*
 * The log: one line per event on stderr or in the log file, a human form on a terminal and JSON
 * elsewhere. Any thread may log; a line is one write(2), so lines never mix, and waits for nobody
 * (base/log_out.h). Values are escaped. Never pass a key or a password.
 *
 *     sl_log_warn("cannot reach target", sl_f_str("target", name), sl_f_int("port", port));
 *
 * gives {"ts":"2026-01-01T00:00:00.000Z","level":"warn","msg":"cannot reach
 * target","target":"app","port":3000}
 */
#ifndef SL_BASE_LOG_H
#define SL_BASE_LOG_H

#include "base/str.h"

enum sl_log_level { SL_LOG_DEBUG, SL_LOG_INFO, SL_LOG_WARN, SL_LOG_ERROR };
enum sl_log_format { SL_LOG_AUTO, SL_LOG_JSON, SL_LOG_HUMAN };

enum sl_field_kind { SL_FIELD_END, SL_FIELD_STR, SL_FIELD_INT, SL_FIELD_DOUBLE, SL_FIELD_BOOL };

struct sl_field {
    const char *key;
    enum sl_field_kind kind;
    union {
        struct sl_str str;
        int64_t num;
        double dbl;
    } v;
};

static inline struct sl_field sl_f_strn(const char *key, struct sl_str s)
{
    return (struct sl_field){key, SL_FIELD_STR, {.str = s}};
}

static inline struct sl_field sl_f_str(const char *key, const char *s)
{
    return sl_f_strn(key, sl_str_c(s != NULL ? s : ""));
}

static inline struct sl_field sl_f_int(const char *key, int64_t n)
{
    return (struct sl_field){key, SL_FIELD_INT, {.num = n}};
}

static inline struct sl_field sl_f_double(const char *key, double d)
{
    return (struct sl_field){key, SL_FIELD_DOUBLE, {.dbl = d}};
}

static inline struct sl_field sl_f_bool(const char *key, bool b)
{
    return (struct sl_field){key, SL_FIELD_BOOL, {.num = b}};
}

/* Before the first line and before threads start. Unset, the form follows the terminal and the
 * level is info. */
void sl_log_setup(enum sl_log_level least, enum sl_log_format format);
/* "debug", "info", "warn", "error" -> 0 and the level, or -1. */
int sl_log_level_parse(struct sl_str name, enum sl_log_level *out);
/* Errors also go to this descriptor, in the form for people; -1: no more. */
void sl_log_copy_errors(int fd);
bool sl_log_is_on(enum sl_log_level level);
/* A name for the calling thread ("control", "worker 2"), put on each of its lines. The string must
 * stay. */
void sl_log_thread_name(const char *name);
/* `fields` ends with a zero entry. */
void sl_log(enum sl_log_level level, const char *msg, const struct sl_field *fields);

/* For lines that strangers can cause: at most SL_LOG_PER_SECOND of a kind, so that nobody fills the
   disk. The first line after a flood says how many were left out ("suppressed"). Owned by one
   thread. */
enum { SL_LOG_PER_SECOND = 10 };

struct sl_log_limit {
    uint64_t second;
    unsigned n_lines, n_suppressed;
};

/* May this line be written? `*n_suppressed` gets the count of those that were not. */
bool sl_log_may(struct sl_log_limit *limit, unsigned *n_suppressed);

#define sl_log_at(level, msg, ...)                                                                 \
    do {                                                                                           \
        if (sl_log_is_on(level))                                                                   \
            sl_log(level, msg, (const struct sl_field[]){__VA_ARGS__ __VA_OPT__(, ){0}});          \
    } while (0)
#define sl_log_debug(msg, ...) sl_log_at(SL_LOG_DEBUG, msg __VA_OPT__(, ) __VA_ARGS__)
#define sl_log_info(msg, ...) sl_log_at(SL_LOG_INFO, msg __VA_OPT__(, ) __VA_ARGS__)
#define sl_log_warn(msg, ...) sl_log_at(SL_LOG_WARN, msg __VA_OPT__(, ) __VA_ARGS__)
#define sl_log_error(msg, ...) sl_log_at(SL_LOG_ERROR, msg __VA_OPT__(, ) __VA_ARGS__)

#endif
