#include "script/state.h"

#include <luajit.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/log.h"
#include "script/internal.h"

enum {
    LOAD_BUDGET_MS = 10000,
    CONTROL_BUDGET_MS = 10000,
    HOOK_BUDGET_MS = 50,
    MIB = 1024 * 1024,
};
static const size_t worker_memory = 64 * (size_t)MIB;
static const size_t control_memory = 1024 * (size_t)MIB;

/* --- plain reading --- */

struct sl_script *sl_script_of(lua_State *L)
{
    return sl_script_fast(L);
}

struct sl_loop *sl_script_loop(const struct sl_script *s)
{
    return s->loop;
}

const struct sl_script_services *sl_script_services(const struct sl_script *s)
{
    return &s->services;
}

enum sl_script_kind sl_script_kind(const struct sl_script *s)
{
    return s->kind;
}

unsigned sl_script_worker(const struct sl_script *s)
{
    return s->worker;
}

bool sl_script_is_check(const struct sl_script *s)
{
    return s->is_check;
}

const char *const *sl_script_args(const struct sl_script *s)
{
    return (const char *const *)s->args;
}

size_t sl_script_memory(const struct sl_script *s, size_t *cap)
{
    if (cap != NULL)
        *cap = s->memory_cap;
    return s->memory;
}

const struct sl_hooks *sl_script_hooks(struct sl_script *s)
{
    return &s->hooks;
}

const struct sl_setting *sl_script_limits(const struct sl_script *s, size_t *n)
{
    *n = s->policy.n_limits;
    return s->policy.limits;
}

/* --- protected calls --- */

struct call {
    void (*fn)(lua_State *L, void *arg);
    void *arg;
};

static int run_call(lua_State *L)
{
    struct call *call = lua_touserdata(L, 1);

    lua_settop(L, 0);
    call->fn(L, call->arg);
    return 0;
}

static int take_error(lua_State *L, int status, struct sl_err *err)
{
    const char *message = "the error is not a string";

    if (status == LUA_ERRMEM)
        message = "out of memory (memory_mb in the script table)";
    else if (lua_type(L, -1) == LUA_TSTRING)
        message = lua_tostring(L, -1);
    sl_err_set(err, status == LUA_ERRMEM ? SL_E_MEMORY : SL_E_SCRIPT, "%s", message);
    lua_pop(L, 1);
    return status == LUA_ERRMEM ? SL_E_MEMORY : SL_E_SCRIPT;
}

int sl_script_protect(struct sl_script *s, void (*fn)(lua_State *L, void *arg), void *arg,
                      struct sl_err *err)
{
    struct call call = {fn, arg};
    int status;

    s->busy++;
    sl_budget_enter(&s->budget);
    status = lua_cpcall(s->L, run_call, &call);
    sl_budget_leave(&s->budget);
    s->busy--;
    return status == 0 ? 0 : take_error(s->L, status, err);
}

/* --- loading --- */

/* Reached only when the host itself touches Lua outside of a protected call. */
static int on_panic(lua_State *L)
{
    const char *message = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "no message";

    sl_log_error("bug: an error of Lua outside of a protected call", sl_f_str("error", message));
    abort();
}

static char *dup_dir(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (slash == NULL)
        return sl_strdup(".");
    return slash == path ? sl_strdup("/") : sl_strndup(path, (size_t)(slash - path));
}

const char *sl_script_lua_dir(void)
{
    return access(SLUICE_SOURCE_DIR "/lua/sluice/api.lua", R_OK) == 0 ? SLUICE_SOURCE_DIR "/lua"
                                                                      : SLUICE_DATA_DIR "/lua";
}

static char **dup_args(const char *const *args)
{
    size_t n = 0;
    char **copy;

    while (args != NULL && args[n] != NULL)
        n++;
    copy = sl_zalloc((n + 1) * sizeof(*copy));
    for (size_t i = 0; i < n; i++)
        copy[i] = sl_strdup(args[i]);
    return copy;
}

static struct sl_script *new_script(const struct sl_script_opts *opts)
{
    struct sl_script *s = sl_zalloc(sizeof(*s));

    s->kind = opts->kind;
    s->loop = opts->loop;
    s->services = opts->services;
    s->worker = opts->worker;
    s->is_check = opts->is_check;
    s->path = sl_strdup(opts->path);
    s->dir = dup_dir(opts->path);
    s->lua_dir = sl_strdup(opts->lua_dir != NULL ? opts->lua_dir : sl_script_lua_dir());
    s->args = dup_args(opts->args);
    sl_list_init(&s->owned);
    sl_tasks_init(s);
    sl_script_set_memory_cap(s, control_memory); /* until the script has said what it wants */
    s->L = lua_newstate(sl_script_allocate, s);
    sl_assert(s->L != NULL);
    lua_atpanic(s->L, on_panic);
    sl_budget_start(&s->budget, s->L, LOAD_BUDGET_MS);
    return s;
}

static void open_state(lua_State *L, void *arg)
{
    const struct sl_script_opts *opts = arg;
    struct sl_script *s = sl_script_fast(L);

    sl_sandbox_open(L);
    sl_require_open(L);
    sl_handles_open(L);
    sl_bind_open(L);
    sl_guard_open(L);
    sl_bind_conn(L);
    sl_bind_hello(L);
    sl_bind_headers(L);
    sl_bind_req(L);
    sl_bind_res(L);
    sl_bind_task(L);
    sl_host_open(L);
    lua_pushliteral(L, "out of memory");
    s->out_of_memory = luaL_ref(L, LUA_REGISTRYINDEX);
    if (opts->library != NULL)
        opts->library(L);
    lua_settop(L, 0);
}

static void run_body(lua_State *L, void *arg)
{
    struct sl_script *s = arg;
    const char *text;
    size_t len;

    if (!sl_push_file(L, s->path))
        luaL_error(L, "%s: %s", s->path, lua_tostring(L, -1));
    text = lua_tolstring(L, -1, &len);
    lua_pushfstring(L, "@%s", s->path);
    s->is_loading = true;
    if (!sl_sandbox_load(L, text, len, lua_tostring(L, -1)))
        lua_error(L);
    lua_call(L, 0, 1);
    sl_policy_read(L);
    s->is_loading = false;
}

/* What the script table chose, now that it is known. */
static int apply_policy(struct sl_script *s, struct sl_err *err)
{
    const struct sl_policy_table *p = &s->policy;
    size_t cap = p->memory > 0 ? p->memory : worker_memory;

    if (s->kind == SL_SCRIPT_CONTROL)
        cap = SL_MAX(p->memory, control_memory);
    /* Each collection halves LuaJIT's buffer for strings, which the body may have made huge. */
    for (int i = 0; i < 8 && (i == 0 || s->memory > cap / 10 * 8); i++)
        sl_script_collect(s);
    if (s->memory > cap / 10 * 8)
        return sl_err_set(err, SL_E_SCRIPT,
                          "%s: the script holds %zu MiB when it is loaded: memory_mb is too little",
                          s->path, s->memory / MIB + 1);
    sl_script_set_memory_cap(s, cap);
    sl_script_relieve(s);
    sl_budget_limit(&s->budget, s->kind == SL_SCRIPT_CONTROL ? CONTROL_BUDGET_MS
                                : p->budget_ms > 0           ? p->budget_ms
                                                             : HOOK_BUDGET_MS);
    sl_host_fill_hooks(s);
    return 0;
}

int sl_script_load(struct sl_script **out, const struct sl_script_opts *opts, struct sl_err *err)
{
    struct sl_script *s = new_script(opts);
    int rc;

    if ((rc = sl_script_protect(s, open_state, (void *)opts, err)) < 0)
        goto fail;
    if ((rc = sl_script_protect(s, run_body, s, err)) < 0)
        goto fail;
    if ((rc = apply_policy(s, err)) < 0)
        goto fail;
    *out = s;
    return 0;
fail:
    sl_script_free(s);
    return rc;
}

/* --- ending --- */

void sl_script_on_retire(struct sl_script *s, struct sl_script_owned *o,
                         void (*close)(struct sl_script_owned *))
{
    o->close = close;
    sl_list_append(&s->owned, &o->link);
}

static void close_owned(struct sl_script *s)
{
    struct sl_link *link;

    while ((link = sl_list_pop(&s->owned)) != NULL) {
        struct sl_script_owned *o = sl_container_of(link, struct sl_script_owned, link);

        o->close(o);
    }
}

static void free_strings(struct sl_script *s)
{
    for (char **arg = s->args; *arg != NULL; arg++)
        sl_free(*arg);
    sl_free(s->args);
    sl_free(s->path);
    sl_free(s->dir);
    sl_free(s->lua_dir);
}

void sl_script_free(struct sl_script *s)
{
    if (s == NULL)
        return;
    sl_assert(s->busy == 0);
    s->is_ending = true;
    sl_control_free(s);
    close_owned(s);
    sl_tasks_clear(s);
    sl_handles_clear(s);
    sl_loop_unsoon(&s->gone_soon);
    lua_close(s->L);
    sl_budget_stop(&s->budget);
    sl_policy_clear(s);
    sl_arena_clear(&s->conn_arena);
    free_strings(s);
    sl_free(s);
}

static bool is_gone(const struct sl_script *s)
{
    return s->is_retired && !s->is_ending && s->n_holds == 0 && s->handles.n_live == 0 &&
           sl_list_is_empty(&s->tasks);
}

static void on_gone(void *user)
{
    struct sl_script *s = user;
    void (*fn)(void *user) = s->on_gone;
    void *fn_user = s->on_gone_user;

    if (!is_gone(s)) /* the last callback of the turn took hold of it again */
        return;
    sl_script_free(s);
    if (fn != NULL)
        fn(fn_user);
}

void sl_script_check_gone(struct sl_script *s)
{
    if (is_gone(s))
        sl_loop_soon(s->loop, &s->gone_soon, on_gone, s);
}

void sl_script_retire(struct sl_script *s, void (*fn)(void *user), void *user)
{
    sl_assert(s->busy == 0 && !s->is_retired);
    s->is_retired = true;
    s->on_gone = fn;
    s->on_gone_user = user;
    sl_control_free(s);
    close_owned(s);
    sl_tasks_cancel(s, 1u << SL_CONTEXT_START);
    sl_script_check_gone(s);
}

void sl_script_hold(struct sl_script *s)
{
    s->n_holds++;
}

void sl_script_release(struct sl_script *s)
{
    sl_assert(s->n_holds > 0);
    s->n_holds--;
    sl_script_check_gone(s);
}
