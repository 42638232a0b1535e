/*
 * The inside of a script, for the files of this folder that make up the host. Bindings of the
 * library need none of it.
 */
#ifndef SL_SCRIPT_INTERNAL_H
#define SL_SCRIPT_INTERNAL_H

#include <lauxlib.h>
#include <lua.h>
#include "base/arena.h"
#include "proxy/hooks.h"
#include "script/handle.h"
#include "script/state.h"
#include "script/task.h"
#include "script/watchdog.h"

/* What the script table said. A function that is missing is LUA_NOREF. */
struct sl_policy_table {
    /* of the registry */
    int on_connect, on_hello, on_request, on_response, on_failure, on_done, on_edge, on_stream;
    int start, stop, check;
    bool is_lenient; /* on_error = "continue" */
    bool jit;
    uint32_t budget_ms; /* 0: the default of the kind */
    size_t memory;      /* bytes; 0: the default of the kind */
    struct sl_setting *limits;
    size_t n_limits;
    struct sl_arena texts; /* of the limits */
};

/* The table behind the handles: slots by number, with objects that are pooled apart so that the
   hot path goes round in few cache lines while numbers are reused as late as possible. */
struct sl_handle_slot {
    struct sl_handle *h; /* NULL: free */
    uint32_t generation;
    uint32_t next_free;
    enum sl_handle_kind last_kind;
};

struct sl_handle_table {
    struct sl_handle_slot **chunks;
    uint32_t n_slots, n_live;
    uint32_t first_free, last_free; /* first in, first out */
    struct sl_handle *pool;         /* last in, first out */
};

/* At most this many lines per second about failed hooks; the rest is counted. */
struct sl_log_gate {
    uint64_t second;
    unsigned n_lines, n_dropped;
};

struct sl_script {
    lua_State *L; /* the main thread: runs the host's own calls, never a task */
    struct sl_budget budget;
    struct sl_task *running; /* the innermost task that runs now */
    enum sl_script_kind kind;
    struct sl_loop *loop;
    struct sl_script_services services;
    unsigned worker;
    bool is_check;
    bool is_loading; /* the body of the script has not ended */
    char *path, *dir, *lua_dir;
    char **args;

    size_t memory, memory_cap;
    uint64_t collected_ms;
    size_t memory_relief; /* past this the collector is run at the end of a run */

    struct sl_policy_table policy;
    struct sl_hooks hooks;
    struct sl_handle_table handles;

    struct sl_task *idle_tasks; /* with their coroutines */
    unsigned n_idle_tasks;
    struct sl_list tasks;     /* that live */
    struct sl_list ready;     /* that run at the end of the turn */
    struct sl_task_link soon; /* runs them */
    unsigned busy;            /* calls of ours on the C stack: resume nothing in here, queue it */

    struct sl_list owned;
    unsigned n_holds;
    bool is_retired, is_ending;
    void (*on_gone)(void *user);
    void *on_gone_user;
    struct sl_task_link gone_soon;
    struct sl_control *control; /* start() and its restarts */

    struct sl_arena conn_arena; /* verdicts of connections, until the next hook call for one */
    const struct sl_done *done; /* of the on_done call in progress */
    struct sl_log_gate gate;

    /* of the registry */
    int trusted_env, trusted_loaded, policy_env, policy_loaded, chunks;
    int core, api, methods, grants, out_of_memory, call_done;
};

/* --- memory.c --- */
void *sl_script_allocate(void *user, void *ptr, size_t old_len, size_t len);
void sl_script_set_memory_cap(struct sl_script *s, size_t cap);
/* Collects when much is in use. Outside Lua. */
void sl_script_relieve(struct sl_script *s);
void sl_script_collect(struct sl_script *s);

/* --- sandbox.c --- */
/* Makes the two environments: the trusted one, with all of Lua, for the modules of lua/sluice; and
   the one of policy code, which is the global table. Throws. */
void sl_sandbox_open(lua_State *L);
/* Fills a granted module into the policy's environment. Throws for an unknown name. */
void sl_sandbox_grant(lua_State *L, const char *name);
/* Throws when the script asked for a module that it did not name in `grants`. */
void sl_sandbox_check_grants(lua_State *L);
bool sl_sandbox_is_grantable(const char *name);
/* Pushes the module for require(). Throws when it was not granted. */
void sl_sandbox_push_granted(lua_State *L, const char *name);
/* Loads text, never bytecode, as a function with the policy's environment and the JIT as chosen.
   Pushes the function, or nil and the message; returns whether it did. */
bool sl_sandbox_load(lua_State *L, const char *text, size_t len, const char *name);
/* Lets the JIT compile what was loaded so far and will be. */
void sl_sandbox_allow_jit(lua_State *L);

/* --- require.c --- */
void sl_require_open(lua_State *L);
/* Pushes what the module of lua/sluice returned. Throws. */
void sl_require_trusted(lua_State *L, const char *name);
/* Reads a file of at most 16 MiB; pushes its bytes, or nil and the reason. */
bool sl_push_file(lua_State *L, const char *path);

/* --- bind.c, guard.c --- */
void sl_bind_open(lua_State *L);
/* Reads lua/sluice/api.lua. Throws. */
void sl_guard_open(lua_State *L);
/* The contexts in which the binding `name` is legal, as a set. Throws when it is not listed. */
int sl_guard_contexts(lua_State *L, const char *name);
/* Pushes the function, wrapped if api.lua restricts `name`; `shown` is the name in its sentence. */
void sl_guard_push(lua_State *L, lua_CFunction fn, const char *name, const char *shown);

/* --- policy.c --- */
/* Reads the script table on top of the stack into s->policy. Throws. */
void sl_policy_read(lua_State *L);
void sl_policy_clear(struct sl_script *s);

/* --- handle.c --- */
void sl_handles_open(lua_State *L);
void sl_handles_clear(struct sl_script *s);
/* Adds methods to the flat table of all handles. */
void sl_bind_methods(lua_State *L, const struct luaL_Reg *methods);

/* --- bind_headers.c --- */
/* Throws unless a script may set this header: tokens, no control characters, not one that frames
 * the message. */
enum sl_header_id sl_check_header(lua_State *L, struct sl_str name, struct sl_str value);

/* Pushes all values of this name joined, or nil. */
void sl_push_header(lua_State *L, const struct sl_headers *headers, struct sl_str name);
/* The message at argument 1, about to be changed by `len` bytes. Throws when it is too late or too
 * much. */
struct sl_handle *sl_check_editable(lua_State *L, unsigned kinds, size_t len);

/* --- bind_*.c of the host --- */
/* Pushes "1.1", "2", … */
void sl_push_version(lua_State *L, enum sl_http_version version);
void sl_bind_conn(lua_State *L);
void sl_bind_hello(lua_State *L);
void sl_bind_req(lua_State *L);
void sl_bind_res(lua_State *L);
void sl_bind_headers(lua_State *L);
void sl_bind_string(lua_State *L);
void sl_bind_task(lua_State *L);

/* --- task.c --- */
/* The way of the hooks, which allocates nothing: a task without queueing, whose function and
   arguments the caller pushes on its stack. NULL: out of memory. */
struct sl_task *sl_task_take(struct sl_script *s, const struct sl_task_opts *opts);
/* A function of the registry that the task runs: names the place of errors that have none. */
void sl_task_set_function(struct sl_task *t, int function);
/* Runs it; true when it waits, false when it has ended. */
bool sl_task_go(struct sl_task *t, int n_args);
/* on_end will not come. */
void sl_task_detach(struct sl_task *t);
/* Gives a taken task back that was never run. */
void sl_task_discard(struct sl_task *t);
enum sl_context sl_task_root(const struct sl_task *t);
void sl_tasks_init(struct sl_script *s);
/* Cancels those whose root is in this set of contexts. */
void sl_tasks_cancel(struct sl_script *s, unsigned roots);
void sl_tasks_clear(struct sl_script *s);

/* --- report.c --- */
/* Logs a failure of script code, at most so many a second. `traceback` may be NULL. */
void sl_report(struct sl_script *s, const char *what, const char *message, const char *traceback);

/* --- host.c --- */
void sl_host_open(lua_State *L);
void sl_host_fill_hooks(struct sl_script *s);

/* --- bind_task.c: the task object that spawn() returns and start() gets --- */
struct sl_task_object;
/* Pushes an object for the task; throws. Whoever is on_end of the task calls _ended(). */
struct sl_task_object *sl_task_object_push(lua_State *L, struct sl_task *t);
void sl_task_object_ended(struct sl_task_object *o, struct sl_task *t, enum sl_task_end how);

/* --- control.c --- */
void sl_control_free(struct sl_script *s);

/* --- state.c --- */
/* A task or a handle of a retired script has ended. */
void sl_script_check_gone(struct sl_script *s);

static inline struct sl_script *sl_script_fast(lua_State *L)
{
    void *user;

    lua_getallocf(L, &user);
    return user;
}

#endif
