/*
 * The command line. Static strings and argv only; nothing is freed.
 */
#ifndef SL_APP_OPTIONS_H
#define SL_APP_OPTIONS_H

#include "base/error.h"
#include "base/log.h"

enum sl_command {
    SL_COMMAND_RUN,
    SL_COMMAND_CHECK,
    SL_COMMAND_VERSION,
    SL_COMMAND_HEALTH,
    SL_COMMAND_TOKEN,
    SL_COMMAND_HELP
};

struct sl_options {
    enum sl_command command;
    const char *script;      /* run, check; health: the URL */
    const char *const *args; /* of the script or the command, ends with NULL */
    unsigned n_workers;      /* 0: one for each processor */
    bool is_check;           /* "--check" among the script's arguments, or the command check */
    bool no_supervisor;
    bool is_daemon;
    const char *log_file; /* NULL: stderr */
    uint64_t log_max_mb;  /* of all log files together */
    enum sl_log_level log_level;
    enum sl_log_format log_format;
};

extern const char sl_usage[];

/* Takes our options out of argv (in place) and leaves the script's in `out->args`. 0 or SL_E_CONFIG
 * with a sentence. */
int sl_options_parse(struct sl_options *out, int argc, char **argv, struct sl_err *err);

#endif
