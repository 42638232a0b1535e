/*
 * sluice: a Lua-scriptable ingress and tunnel runtime. The way in: command line, then the
 * supervisor or one command.
 */
#include <openssl/crypto.h>
#include <stdio.h>
#include "app/command.h"
#include "app/health.h"
#include "app/runtime.h"
#include "app/supervisor.h"
#include "quic/token.h"

static int run_runtime(int ready_fd, void *arg)
{
    return sl_runtime_run(ready_fd, arg);
}

static int run(struct sl_options *o)
{
    if (o->is_check || o->no_supervisor)
        return sl_runtime_run(-1, o);
    sl_quic_token_draw(); /* for the runtime, and for the one after it if it crashes */
    return sl_supervise(run_runtime, o);
}

int main(int argc, char **argv)
{
    struct sl_options o;
    struct sl_err err;

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
