#include "script/bind.h"
#include "script/internal.h"

/* sluice.spawn(fn, …) -> task; task:cancel(); task:wait(). */

struct waiter {
    struct sl_link link;
    struct sl_task *task;
};

/* The object keeps what the task returned until somebody asks, and forgets the task when it ends.
   An object that nobody holds any more lets the task run on. */
struct sl_task_object {
    struct sl_task *task; /* NULL: it has ended, or was never begun */
    struct sl_list waiters;
    struct sl_script *script;
    enum sl_task_end how;
    int results; /* of the registry: a table {n = …, …} */
    char *error;
};

static const char class_name[] = "task";

struct sl_task_object *sl_task_object_push(lua_State *L, struct sl_task *t)
{
    struct sl_task_object *o = sl_object_new(L, class_name, sizeof(*o));

    o->task = t;
    o->script = sl_script_fast(L);
    o->results = LUA_NOREF;
    o->how = SL_TASK_CANCELLED;
    sl_list_init(&o->waiters);
    return o;
}

/* --- the end of the task --- */

struct keep {
    struct sl_task_object *object;
    struct sl_task *task;
};

static void keep_results(lua_State *L, void *arg)
{
    struct keep *keep = arg;
    lua_State *from = sl_task_lua(keep->task);
    int n = SL_MIN(sl_task_results(keep->task), SL_TASK_MAX_VALUES);

    lua_createtable(L, n, 1);
    for (int i = 1; i <= n; i++) {
        lua_pushvalue(from, i);
        lua_xmove(from, L, 1);
        lua_rawseti(L, -2, i);
    }
    lua_pushinteger(L, n);
    lua_setfield(L, -2, "n");
    keep->object->results = luaL_ref(L, LUA_REGISTRYINDEX);
}

static void fail_object(struct sl_task_object *o, const char *text)
{
    o->how = SL_TASK_THREW;
    o->error = sl_strdup(text);
}

static int push_outcome(lua_State *L, void *arg)
{
    const struct sl_task_object *o = arg;
    int table, n;

    if (o->how == SL_TASK_THREW)
        return sl_push_failure(L, o->error);
    if (o->how == SL_TASK_CANCELLED)
        return sl_push_failure(L, "cancelled");
    lua_rawgeti(L, LUA_REGISTRYINDEX, o->results);
    table = lua_gettop(L);
    lua_getfield(L, table, "n");
    n = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    for (int i = 1; i <= n; i++)
        lua_rawgeti(L, table, i);
    lua_remove(L, table);
    return n;
}

static void wake_waiters(struct sl_task_object *o)
{
    struct sl_link *link;

    while ((link = sl_list_pop(&o->waiters)) != NULL) {
        struct waiter *w = sl_container_of(link, struct waiter, link);
        struct sl_task *task = w->task;

        sl_free(w);
        sl_task_resume(task, push_outcome, o); /* queued: a task is just ending */
    }
}

void sl_task_object_ended(struct sl_task_object *o, struct sl_task *t, enum sl_task_end how)
{
    struct keep keep = {o, t};

    o->task = NULL;
    o->how = how;
    if (how == SL_TASK_THREW)
        fail_object(o, sl_task_error(t));
    else if (how == SL_TASK_RETURNED && sl_script_protect(o->script, keep_results, &keep, NULL) < 0)
        fail_object(o, "out of memory");
    wake_waiters(o);
}

static void on_end(struct sl_task *t, enum sl_task_end how)
{
    sl_task_object_ended(sl_task_user(t), t, how);
}

/* --- spawn --- */

struct spawn {
    lua_State *from;
    int n;
};

/* Moves the function and its arguments off the stack of the caller. */
static int push_spawned(lua_State *L, void *arg)
{
    const struct spawn *spawn = arg;

    lua_xmove(spawn->from, L, spawn->n);
    return spawn->n;
}

/* Moves the values on top to a thread that takes their place. */
static lua_State *move_apart(lua_State *L, int n)
{
    lua_State *apart = lua_newthread(L);

    lua_insert(L, -(n + 1));
    lua_xmove(L, apart, n);
    return apart;
}

static int spawn(lua_State *L)
{
    struct sl_task_opts opts = {.context = SL_CONTEXT_TASK, .on_end = on_end};
    struct spawn args = {L, lua_gettop(L)};
    struct sl_task_object *o;

    luaL_checktype(L, 1, LUA_TFUNCTION);
    luaL_argcheck(L, args.n <= SL_TASK_MAX_VALUES, args.n,
                  "too many arguments; put them into a table");
    o = sl_task_object_push(L, NULL);
    lua_insert(L, 1);
    opts.user = o;
    /* The body of a script runs where values are pushed, too: nothing moves from a stack to itself.
     */
    if (sl_task_current(L) == NULL)
        args.from = move_apart(L, args.n);
    o->task = sl_task_run(o->script, &opts, push_spawned, &args);
    if (o->task == NULL)
        return luaL_error(L, "sluice.spawn: out of memory");
    lua_settop(L, 1);
    return 1;
}

/* --- methods --- */

static void cancel_waiter(void *op)
{
    struct waiter *w = op;

    sl_link_remove(&w->link);
    sl_free(w);
}

static int task_wait(lua_State *L)
{
    struct sl_task_object *o = sl_object_check(L, 1, class_name);
    struct sl_task *self;
    struct waiter *w;

    if (o->task == NULL)
        return push_outcome(L, o);
    self = sl_task_must_wait(L, "task:wait");
    if (self == o->task)
        return luaL_error(L, "task:wait: a task cannot wait for itself");
    lua_settop(L, 1); /* the object stays alive on this stack */
    w = sl_zalloc(sizeof(*w));
    w->task = self;
    sl_list_append(&o->waiters, &w->link);
    return sl_task_wait(self, cancel_waiter, w);
}

static int task_cancel(lua_State *L)
{
    struct sl_task_object *o = sl_object_check(L, 1, class_name);

    if (o->task != NULL)
        sl_task_cancel(o->task);
    return 0;
}

static int task_gc(lua_State *L)
{
    struct sl_task_object *o = lua_touserdata(L, 1);

    if (o->task != NULL)
        sl_task_detach(o->task);
    o->task = NULL;
    if (o->results != LUA_NOREF)
        luaL_unref(L, LUA_REGISTRYINDEX, o->results);
    o->results = LUA_NOREF;
    sl_free(o->error);
    o->error = NULL;
    return 0;
}

void sl_bind_task(lua_State *L)
{
    static const struct luaL_Reg functions[] = {{"spawn", spawn}, {NULL, NULL}};
    static const struct luaL_Reg methods[] = {
        {"cancel", task_cancel}, {"wait", task_wait}, {NULL, NULL}};

    sl_bind_functions(L, functions);
    sl_bind_class(L, class_name, methods, task_gc);
}
