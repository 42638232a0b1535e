/* takeover: from one sluice to the next without a lost connection. */
#include "script/library.h"
#include "script/takeover.h"

/* A task that waits for the program. */
struct operation {
    struct sl_task *task;
    struct sl_script *script;
};

static const struct sl_script_takeover *service(lua_State *L, const char *what)
{
    const struct sl_script_takeover *takeover = sl_script_services(sl_script_of(L))->takeover;

    sl_need_service(L, takeover != NULL, what);
    return takeover;
}

static int push_result(lua_State *L, int rc, const struct sl_err *err)
{
    if (rc < 0)
        return sl_push_failure(L, err->text);
    lua_pushboolean(L, true);
    return 1;
}

static void on_end(void *arg, const struct sl_err *err)
{
    struct operation *op = arg;
    struct sl_task *task = op->task;

    sl_free(op);
    if (err == NULL)
        sl_task_resume_true(task);
    else
        sl_task_resume_error(task, err->text);
}

static void cancel(void *arg)
{
    struct operation *op = arg;
    const struct sl_script_takeover *takeover = sl_script_services(op->script)->takeover;

    takeover->forget(takeover->user, op);
    sl_free(op);
}

static struct operation *begin(lua_State *L, struct sl_task *task)
{
    struct operation *op = sl_alloc(sizeof(*op));

    *op = (struct operation){task, sl_script_of(L)};
    return op;
}

/* Waits when the program has said 0. */
static int finish(lua_State *L, struct operation *op, int rc, const struct sl_err *err)
{
    if (rc == 0)
        return sl_task_wait(op->task, cancel, op);
    sl_free(op);
    return push_result(L, rc, err);
}

static int offer(lua_State *L)
{
    const struct sl_script_takeover *takeover = service(L, "sluice.takeover.offer");
    const char *path = luaL_checkstring(L, 1);
    struct sl_err err;

    return push_result(L, takeover->offer(takeover->user, path, &err), &err);
}

static int from(lua_State *L)
{
    static const char *const names[] = {"timeout", NULL};
    const struct sl_script_takeover *takeover = service(L, "sluice.takeover.from");
    const char *path = luaL_checkstring(L, 1);
    struct sl_task *task;
    struct operation *op;
    struct sl_err err;
    double timeout;

    sl_arg_options(L, 2, names);
    timeout = sl_opt_seconds(L, 2, "timeout", 10);
    task = sl_task_must_wait(L, "sluice.takeover.from");
    op = begin(L, task);
    return finish(
        L, op, takeover->from(takeover->user, path, (uint64_t)(timeout * 1000), on_end, op, &err),
        &err);
}

static int done(lua_State *L)
{
    const struct sl_script_takeover *takeover = service(L, "sluice.takeover.done");
    struct operation *op = begin(L, sl_task_must_wait(L, "sluice.takeover.done"));
    struct sl_err err;

    return finish(L, op, takeover->done(takeover->user, on_end, op, &err), &err);
}

void sl_bind_takeover(lua_State *L)
{
    static const struct luaL_Reg functions[] = {
        {"takeover.offer", offer}, {"takeover.from", from}, {"takeover.done", done}, {NULL, NULL}};

    sl_bind_functions(L, functions);
}
