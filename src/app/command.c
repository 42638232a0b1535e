#include "app/command.h"

#include <stdio.h>
#include "script/library.h"

struct command {
    const char *name;
    struct sl_loop *loop;
    int exit_code;
    bool has_ended;
};

static void on_end(void *user, enum sl_script_end how, const char *message)
{
    struct command *c = user;

    if (how == SL_SCRIPT_REFUSED)
        fprintf(stderr, "sluice %s: %s\n", c->name, message);
    c->exit_code = how == SL_SCRIPT_ENDED ? 0 : 1;
    c->has_ended = true;
    sl_loop_stop(c->loop);
}

static int load(struct sl_script **out, struct command *c, const char *const *args,
                struct sl_err *err)
{
    char path[4096];
    struct sl_script_opts opts = {.loop = c->loop,
                                  .kind = SL_SCRIPT_CONTROL,
                                  .path = path,
                                  .args = args,
                                  .is_check = true,
                                  .library = sl_library_open};

    snprintf(path, sizeof(path), "%s/sluice/commands/%s.lua", sl_script_lua_dir(), c->name);
    return sl_script_load(out, &opts, err);
}

int sl_command_run(const char *name, const char *const *args)
{
    struct command c = {.name = name, .exit_code = 1};
    struct sl_script *script = NULL;
    struct sl_err err;

    if (sl_loop_new(&c.loop) < 0) {
        fprintf(stderr, "sluice %s: cannot make an event loop\n", name);
        return 1;
    }
    if (load(&script, &c, args, &err) < 0) {
        fprintf(stderr, "sluice %s: %s\n", name, err.text);
    } else {
        sl_script_check(script, on_end, &c);
        if (!c.has_ended)
            sl_loop_run(c.loop);
    }
    sl_script_free(script);
    sl_loop_free(c.loop);
    return c.exit_code;
}
