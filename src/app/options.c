#include "app/options.h"

enum { MAX_WORKERS = 256, LOG_MAX_MB = 200, MOST_LOG_MB = 1000000 };

static const char daemon_log[] = "logs/core.log";

const char sl_usage[] =
    "usage: sluice run SCRIPT [--workers N] [--log-level debug|info|warn|error]\n"
    "                  [--log-format json|human] [--log-file PATH] [--log-max-mb N]\n"
    "                  [--daemon] [--no-supervisor] [script arguments]\n"
    "       sluice check SCRIPT [script arguments]\n"
    "       sluice health URL\n"
    "       sluice token encode --hub-host HOST --edge-id ID --secret SECRET\n"
    "                  [--hub-port PORT] [--fingerprint HEX]\n"
    "       sluice token decode TOKEN\n"
    "       sluice version\n";

static int parse_workers(struct sl_options *o, const char *value, struct sl_err *err)
{
    uint64_t n;

    if (sl_str_to_u64(sl_str_c(value), MAX_WORKERS, &n) < 0 || n == 0)
        return sl_err_set(err, SL_E_CONFIG, "--workers: %s is not a number from 1 to %d", value,
                          MAX_WORKERS);
    o->n_workers = (unsigned)n;
    return 0;
}

static int parse_level(struct sl_options *o, const char *value, struct sl_err *err)
{
    if (sl_log_level_parse(sl_str_c(value), &o->log_level) < 0)
        return sl_err_set(err, SL_E_CONFIG,
                          "--log-level: %s is not one of debug, info, warn, error", value);
    return 0;
}

static int parse_format(struct sl_options *o, const char *value, struct sl_err *err)
{
    if (strcmp(value, "json") == 0)
        o->log_format = SL_LOG_JSON;
    else if (strcmp(value, "human") == 0)
        o->log_format = SL_LOG_HUMAN;
    else
        return sl_err_set(err, SL_E_CONFIG, "--log-format: %s is not one of json, human", value);
    return 0;
}

static int parse_log_file(struct sl_options *o, const char *value, struct sl_err *err)
{
    if (*value == '\0')
        return sl_err_set(err, SL_E_CONFIG, "--log-file: a path is missing");
    o->log_file = value;
    return 0;
}

static int parse_log_max(struct sl_options *o, const char *value, struct sl_err *err)
{
    if (sl_str_to_u64(sl_str_c(value), MOST_LOG_MB, &o->log_max_mb) < 0 || o->log_max_mb == 0)
        return sl_err_set(err, SL_E_CONFIG, "--log-max-mb: %s is not a number from 1 to %d", value,
                          MOST_LOG_MB);
    return 0;
}

static const struct {
    const char *name;
    int (*parse)(struct sl_options *, const char *, struct sl_err *);
} valued[] = {{"--workers", parse_workers},
              {"--log-level", parse_level},
              {"--log-format", parse_format},
              {"--log-file", parse_log_file},
              {"--log-max-mb", parse_log_max}};

/* One of ours with a value, as two words or with "="? The count of words it took, 0, or an error.
 */
static int take_valued(struct sl_options *o, char **argv, struct sl_err *err)
{
    for (size_t i = 0; i < SL_COUNT(valued); i++) {
        size_t len = strlen(valued[i].name);
        int rc;

        if (strncmp(argv[0], valued[i].name, len) != 0 ||
            (argv[0][len] != '\0' && argv[0][len] != '='))
            continue;
        if (argv[0][len] == '=') {
            rc = valued[i].parse(o, argv[0] + len + 1, err);
            return rc < 0 ? rc : 1;
        }
        if (argv[1] == NULL)
            return sl_err_set(err, SL_E_CONFIG, "%s: a value is missing", valued[i].name);
        rc = valued[i].parse(o, argv[1], err);
        return rc < 0 ? rc : 2;
    }
    return 0;
}

/* Everything after the script's name that is not ours is the script's; "--" ends ours. */
static int take_rest(struct sl_options *o, char **argv, struct sl_err *err)
{
    char **kept = argv;
    bool is_ours = true;

    o->args = (const char *const *)argv;
    while (*argv != NULL) {
        int n = is_ours ? take_valued(o, argv, err) : 0;

        if (n < 0)
            return n;
        argv += n;
        if (n > 0)
            continue;
        if (is_ours && strcmp(*argv, "--") == 0)
            is_ours = false;
        else if (is_ours && strcmp(*argv, "--no-supervisor") == 0)
            o->no_supervisor = true;
        else if (is_ours && strcmp(*argv, "--daemon") == 0)
            o->is_daemon = true;
        else
            *kept++ = *argv;
        argv++;
    }
    *kept = NULL;
    for (char **a = (char **)o->args; *a != NULL; a++)
        o->is_check = o->is_check || strcmp(*a, "--check") == 0;
    if (o->is_daemon && o->log_file == NULL)
        o->log_file = daemon_log;
    return 0;
}

int sl_options_parse(struct sl_options *o, int argc, char **argv, struct sl_err *err)
{
    static const struct {
        const char *name;
        enum sl_command command;
        const char *wants;
    } commands[] = {{"run", SL_COMMAND_RUN, "a script"},    {"check", SL_COMMAND_CHECK, "a script"},
                    {"health", SL_COMMAND_HEALTH, "a URL"}, {"token", SL_COMMAND_TOKEN, NULL},
                    {"version", SL_COMMAND_VERSION, NULL},  {"--version", SL_COMMAND_VERSION, NULL},
                    {"help", SL_COMMAND_HELP, NULL},        {"--help", SL_COMMAND_HELP, NULL},
                    {"-h", SL_COMMAND_HELP, NULL}};

    *o = (struct sl_options){.log_level = SL_LOG_INFO, .log_max_mb = LOG_MAX_MB};
    for (size_t i = 0; argc > 1 && i < SL_COUNT(commands); i++) {
        if (strcmp(argv[1], commands[i].name) != 0)
            continue;
        o->command = commands[i].command;
        o->is_check = o->command == SL_COMMAND_CHECK;
        o->args = (const char *const *)argv + 2;
        if (commands[i].wants == NULL)
            return 0;
        if (argc < 3)
            return sl_err_set(err, SL_E_CONFIG, "%s: %s is missing", argv[1], commands[i].wants);
        o->script = argv[2];
        return take_rest(o, argv + 3, err);
    }
    return sl_err_set(err, SL_E_CONFIG, argc > 1 ? "unknown command %s" : "a command is missing",
                      argc > 1 ? argv[1] : "");
}
