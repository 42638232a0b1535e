/* sluice.exec: another program, run to its end. */
#include "loop/child.h"
#include "script/library.h"

enum {
    TIMEOUT_S = 30,
    MOST_S = 24 * 3600,
    MAX_OUTPUT = 1024 * 1024,
    MOST_OUTPUT = 64 * 1024 * 1024,
    MOST_INPUT = 64 * 1024 * 1024,
    MAX_WORDS = 4096,
};

/* Owner: the task that waits. */
struct exec {
    struct sl_loop *loop;
    struct sl_task *task;
    struct sl_child *child;
};

static void free_exec(struct exec *e)
{
    sl_loop_defer(e->loop, e, sl_free);
}

static void cancel(void *op)
{
    struct exec *e = op;

    sl_child_cancel(e->child);
    free_exec(e);
}

static int push_end(lua_State *L, void *arg)
{
    const struct sl_child_end *end = arg;

    lua_createtable(L, 0, 3);
    lua_pushinteger(L, end->signal != 0 ? end->signal : end->status);
    lua_setfield(L, -2, end->signal != 0 ? "signal" : "status");
    lua_pushlstring(L, end->out.len > 0 ? end->out.p : "", end->out.len);
    lua_setfield(L, -2, "stdout");
    lua_pushlstring(L, end->err.len > 0 ? end->err.p : "", end->err.len);
    lua_setfield(L, -2, "stderr");
    return 1;
}

static void on_end(void *user, const struct sl_child_end *end)
{
    struct exec *e = user;
    struct sl_task *task = e->task;

    free_exec(e);
    if (end->code == 0)
        sl_task_resume(task, push_end, (void *)end);
    else
        sl_task_resume_error(task, end->code == SL_E_LIMIT ? "too much output"
                                                           : sl_error_text(end->code));
}

/* --- the arguments --- */

/* The arrays lie in the room, so that nothing is lost when the next argument throws; a table on the
   stack keeps their strings alive. */
struct words {
    struct sl_buf *list;
    int kept; /* where the table is */
};

static void add(struct words *w, const char *text)
{
    sl_buf_append(w->list, &text, sizeof(text));
}

/* The value on top of the stack as a string, which stays there. */
static const char *check_word(lua_State *L, const char *what)
{
    size_t len;
    const char *text;

    if (lua_type(L, -1) != LUA_TSTRING && lua_type(L, -1) != LUA_TNUMBER)
        luaL_error(L, "%s: a string expected, got %s", what, luaL_typename(L, -1));
    text = lua_tolstring(L, -1, &len);
    if (strlen(text) != len)
        luaL_error(L, "%s: a string with a NUL inside cannot be passed on", what);
    return text;
}

/* Takes the string on top of the stack. */
static void take_word(lua_State *L, struct words *w)
{
    add(w, lua_tostring(L, -1));
    luaL_ref(L, w->kept);
}

static void read_argv(lua_State *L, struct words *w)
{
    size_t n = lua_objlen(L, 1);

    luaL_argcheck(L, n > 0 && n <= MAX_WORDS, 1, "a program and its arguments expected");
    for (size_t i = 1; i <= n; i++) {
        lua_rawgeti(L, 1, (int)i);
        check_word(L, "argv");
        take_word(L, w);
    }
    add(w, NULL);
}

/* A key that is a number must stay one while the table is gone through. */
static void check_name(lua_State *L, int at)
{
    const char *name = lua_type(L, at) == LUA_TSTRING ? lua_tostring(L, at) : "";

    if (*name == '\0' || strchr(name, '=') != NULL || strlen(name) != lua_objlen(L, at))
        luaL_error(L, "option env: the names of variables expected as keys");
}

static void read_env(lua_State *L, struct words *w)
{
    int at = lua_gettop(L) + 1;

    lua_getfield(L, 2, "env");
    if (!lua_isnil(L, at) && !lua_istable(L, at))
        luaL_error(L, "option env: a table expected, got %s", luaL_typename(L, at));
    for (lua_pushnil(L); lua_istable(L, at) && lua_next(L, at) != 0; lua_settop(L, at + 1)) {
        const char *value = check_word(L, "option env");

        check_name(L, at + 1);
        lua_pushfstring(L, "%s=%s", lua_tostring(L, at + 1), value);
        take_word(L, w);
    }
    lua_settop(L, at - 1);
    add(w, NULL);
}

static const char *read_cwd(lua_State *L)
{
    struct sl_str cwd = sl_opt_str(L, 2, "cwd", SL_STR_NONE);

    if (cwd.len == 0)
        return NULL;
    if (strlen(cwd.p) != cwd.len)
        luaL_error(L, "option cwd: a path without a NUL expected");
    return cwd.p;
}

static void read_options(lua_State *L, struct sl_child_opts *opts)
{
    opts->cwd = read_cwd(L);
    opts->input = sl_opt_str(L, 2, "stdin", SL_STR_NONE);
    if (opts->input.len > MOST_INPUT)
        luaL_error(L, "option stdin: at most %d bytes expected", MOST_INPUT);
    opts->max_output = (size_t)sl_opt_int(L, 2, "max_output", 0, MOST_OUTPUT, MAX_OUTPUT);
    opts->timeout_ms = SL_MIN(sl_opt_seconds(L, 2, "timeout", TIMEOUT_S), MOST_S) * 1e3;
}

/* Everything that throws is behind us. */
static int run(lua_State *L, struct sl_task *task, const struct sl_child_opts *opts)
{
    struct exec *e = sl_zalloc(sizeof(*e));
    struct sl_err err;

    e->loop = sl_script_loop(sl_script_of(L));
    e->task = task;
    if (sl_child_start(&e->child, e->loop, opts, on_end, e, &err) == 0)
        return sl_task_wait(task, cancel, e);
    sl_free(e);
    return sl_push_failure(L, err.text);
}

static int exec(lua_State *L)
{
    static const char *const names[] = {"stdin", "timeout", "max_output", "cwd", "env", NULL};
    struct sl_child_opts opts = {0};
    struct words words = {.kept = 3};
    struct sl_task *task;
    size_t n_argv;

    luaL_checktype(L, 1, LUA_TTABLE);
    sl_arg_options(L, 2, names);
    lua_settop(L, 2);
    if (lua_isnil(L, 2)) {
        lua_newtable(L);
        lua_replace(L, 2);
    }
    lua_newtable(L); /* of words */
    read_options(L, &opts);
    task = sl_task_must_wait(L, "sluice.exec");
    words.list = sl_room(L);
    read_argv(L, &words);
    n_argv = sl_buf_len(words.list) / sizeof(char *);
    read_env(L, &words);
    opts.argv = (const char *const *)(void *)sl_buf_at(words.list);
    opts.env = opts.argv + n_argv;
    return run(L, task, &opts);
}

void sl_bind_exec(lua_State *L)
{
    static const struct luaL_Reg functions[] = {{"exec", exec}, {NULL, NULL}};

    sl_bind_functions(L, functions);
}
