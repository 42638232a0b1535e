/*
 * sluice: a Lua-scriptable ingress and tunnel runtime. The way in: command line, then the
 * supervisor or one command.
 */
#include <signal.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include "app/command.h"
#include "app/daemon.h"
#include "app/health.h"
#include "app/runtime.h"
#include "app/supervisor.h"
#include "base/log_file.h"
#include "quic/token.h"

static int run_runtime(int ready_fd, void *arg)
{
    return sl_runtime_run(ready_fd, arg);
}

static int open_log(const struct sl_options *o)
{
    struct sl_err err;

    if (sl_log_file_open(o->log_file, o->log_max_mb << 20, &err) < 0) {
        fprintf(stderr, "sluice: %s\n", err.text);
        return 1;
    }
    sl_log_setup(o->log_level, o->log_format);
    return 0;
}

static int run(struct sl_options *o)
{
    int code;

    if (o->is_check)
        return sl_runtime_run(-1, o);
    if (o->log_file != NULL && open_log(o) != 0)
        return 1;
    if (o->is_daemon && (code = sl_daemon_begin(o->log_file)) >= 0)
        return code;
    if (o->no_supervisor)
        return sl_runtime_run(-1, o);
    sl_quic_token_draw(); /* for the runtime, and for the one after it if it crashes */
    return sl_supervise(run_runtime, o);
}

int main(int argc, char **argv)
{
    struct sl_options o;
    struct sl_err err;

    sl_daemon_keep_stdio();
    signal(SIGCHLD, SIG_DFL); /* were it ignored, nobody could wait for a child */
    /* A helper thread may be at work with OpenSSL when the process ends (script/helper.h): nothing
     * is taken from under it. */
    OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
    if (sl_options_parse(&o, argc, argv, &err) < 0) {
        fprintf(stderr, "sluice: %s\n%s", err.text, sl_usage);
        return 2;
    }
    sl_log_setup(o.log_level, o.log_format);
    switch (o.command) {
    case SL_COMMAND_RUN:
    case SL_COMMAND_CHECK:
        return run(&o);
    case SL_COMMAND_HEALTH:
        return sl_health(o.script);
    case SL_COMMAND_TOKEN:
        return sl_command_run("token", o.args);
    case SL_COMMAND_VERSION:
        puts("sluice " SLUICE_VERSION);
        return 0;
    case SL_COMMAND_HELP:
        fputs(sl_usage, stdout);
        return 0;
    }
    return 2;
}
