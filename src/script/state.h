/*
 * A script: one policy file loaded into one Lua state, for one thread (a worker or control). Holds
 * the sandbox, the memory cap, the CPU budget and the module loader. Runs nothing by itself: tasks
 * do (script/task.h), hooks do (script/host.h).
 *
 * It knows no sockets and no threads but its own. What the program around it offers comes as
 * `struct sl_script_services`; the functions that Lua sees come from the bind_*.c files
 * (script/bind.h) through `opts.library`.
 *
 * Owner: the thread that runs `opts.loop`; every function here is for that thread.
 * sl_script_retire() and sl_script_free() are not legal while Lua of this script runs, nor in an
 * on_end callback of one of its tasks (sl_loop_soon() first); both assert it.
 *
 *     struct sl_script_opts opts = {.loop = loop, .kind = SL_SCRIPT_WORKER, .path = path};
 *
 *     opts.library = sl_library_open;
 *     if (sl_script_load(&script, &opts, &err) < 0)
 *         sl_log_error(err.text);           // policy.lua: unknown key "on_reqest"; did you mean …
 *     hooks = sl_script_hooks(script);      // for the proxy of this thread
 *
 * Memory: Lua's allocator counts and refuses at the cap (`memory_mb`), which Lua sees as the error
 * "not enough memory". So every lua_* call that may allocate must run protected: inside a C
 * function called from Lua, inside a push function of script/task.h, or inside sl_script_protect().
 * Elsewhere (a callback of the loop) touch no Lua state directly.
 */
#ifndef SL_SCRIPT_STATE_H
#define SL_SCRIPT_STATE_H

#include <lua.h>
#include "base/error.h"
#include "base/list.h"
#include "base/str.h"
#include "loop/loop.h"

struct sl_script;
struct sl_hooks;
struct sl_dns;
struct sl_pool;
struct sl_snapshot;
struct sl_script_takeover;
struct sl_script_tunnels;

enum sl_script_kind { SL_SCRIPT_CONTROL, SL_SCRIPT_WORKER };

enum sl_setting_kind { SL_SETTING_NUMBER, SL_SETTING_BOOL, SL_SETTING_STRING, SL_SETTING_STRINGS };

/* One named value for the data plane: a row of the script's `limits` table or of core.settings().
 */
struct sl_setting {
    struct sl_str name;
    enum sl_setting_kind kind;
    double number;                /* NUMBER; BOOL: 0 or 1 */
    const struct sl_str *strings; /* STRING (one), STRINGS */
    size_t n_strings;
};

/* Totals of the process since it began. Routes and their counters are in the snapshot. */
struct sl_script_stats {
    uint64_t active_connections, total_connections, requests, errors, bytes_in, bytes_out;
    double uptime_s;
    uint64_t http2_requests, http3_requests; /* of `requests` */
    uint64_t quic_handshakes, quic_retries, quic_dropped, quic_forwarded;
    uint64_t udp_sessions, udp_sessions_total, udp_evicted, udp_dropped, udp_refused;
    uint64_t proxy_missing, proxy_repeated;
    unsigned workers;
};

/* What became of a publication. */
struct sl_published {
    const struct sl_err *err; /* NULL: every worker runs it; else nothing has changed */
    /* Tolerant: what was left out since a port of it could not be had. */
    const struct sl_refused_route {
        size_t place; /* in the snapshot that was given */
        struct sl_err err;
    } *refused;
    size_t n_refused;
};

/* What the program offers to the bindings of one thread. A NULL function is one that this thread
   does not have; the bindings then throw "… cannot be called on a worker". */
struct sl_script_services {
    void *user; /* first argument of each function */
    struct sl_dns *dns;
    struct sl_pool *pool;
    /* The snapshot that is live: a reference, the caller lets go of it. NULL: none was published
     * yet. */
    struct sl_snapshot *(*snapshot)(void *user);
    /* Control. Takes the snapshot and nulls the pointer. `done` comes exactly once, later, on this
       thread: when every worker runs the snapshot, or when it was refused (a port in use; the old
       one stays). Tolerant: only routes with such a port are refused. It cannot be cancelled: `arg`
       must live until then. */
    void (*publish)(void *user, struct sl_snapshot **snapshot, bool is_tolerant,
                    void (*done)(void *arg, const struct sl_published *result), void *arg);
    /* Control. Sets these data-plane limits, all or none. 0, or SL_E_CONFIG with a sentence that
     * begins at the name. */
    int (*settings)(void *user, const struct sl_setting *settings, size_t n, struct sl_err *err);
    void (*stats)(void *user, struct sl_script_stats *out);
    /* Control. Ends the program in order; returns at once. */
    void (*exit)(void *user, int code);
    /* Control. As a SIGTERM: from the end of this turn on nothing new is taken, and the program
     * ends when what is open has been answered. Again: no effect. */
    void (*drain)(void *user);
    const struct sl_script_tunnels *tunnels;   /* Control. script/tunnels.h */
    const struct sl_script_takeover *takeover; /* Control. script/takeover.h */
};

struct sl_script_opts {
    struct sl_loop *loop;
    enum sl_script_kind kind;
    const char *path;    /* the policy script */
    const char *lua_dir; /* holds sluice/init.lua; NULL: that of the build or the installation */
    const char *const *args; /* sluice.args; ends with NULL; NULL: none. Copied. */
    unsigned worker;         /* 1..N on a worker, 0 in control */
    bool is_check;           /* runs as `--check` */
    /* Adds the functions of the library to `sluice.core` (see script/bind.h). NULL: handles and
     * tasks only. */
    void (*library)(lua_State *L);
    struct sl_script_services services;
};

/* The folder of the library: that of the checkout this was built in while it is there, else of the
 * installation. */
const char *sl_script_lua_dir(void);

/* Loads and checks the script; runs its body under the budget of a control task. 0, or SL_E_SCRIPT
   with a sentence that begins with file:line where there is one; `*out` is then untouched. */
int sl_script_load(struct sl_script **out, const struct sl_script_opts *opts, struct sl_err *err);
/* Cancels every task, lets go of every handle (their sl_hook_slot.script become NULL), frees. NULL
 * is legal. */
void sl_script_free(struct sl_script *s);
/* A newer script has taken over: closes what the library keeps (see sl_script_on_retire), cancels
   the tasks that began in start(), lets hooks in flight finish, then frees the script from the loop
   and calls `on_gone` (may be NULL). sl_script_free() before that is legal and silences on_gone. */
void sl_script_retire(struct sl_script *s, void (*on_gone)(void *user), void *user);

/* The hooks that this script has; valid as long as the script. */
const struct sl_hooks *sl_script_hooks(struct sl_script *s);
/* The script's `limits` table; `*n` rows. */
const struct sl_setting *sl_script_limits(const struct sl_script *s, size_t *n);

/* How start(), stop() and check() ended. `message`: what a returned `nil, message` or a throw said,
 * else NULL. */
enum sl_script_end {
    SL_SCRIPT_ENDED,   /* returned, or there is no such function */
    SL_SCRIPT_REFUSED, /* returned nil or false and a message: end the program with it */
    SL_SCRIPT_FAILED,  /* threw; has been logged with its traceback */
};
typedef void sl_script_on_end(void *user, enum sl_script_end end, const char *message);

/* Run start(task), stop() or check() as a task of this (control) script; `on_end` comes once, maybe
   inside the call, and not after sl_script_free() or sl_script_retire(). A start() that threw is
   started again after 1 s, then 2 s … 30 s: on_end then comes for each of these ends. */
void sl_script_start(struct sl_script *s, sl_script_on_end *on_end, void *user);
void sl_script_stop(struct sl_script *s, sl_script_on_end *on_end, void *user);
void sl_script_check(struct sl_script *s, sl_script_on_end *on_end, void *user);

/* --- for bindings --- */

/* The script of any of its Lua threads. Costs two loads. */
struct sl_script *sl_script_of(lua_State *L);
struct sl_loop *sl_script_loop(const struct sl_script *s);
const struct sl_script_services *sl_script_services(const struct sl_script *s);
enum sl_script_kind sl_script_kind(const struct sl_script *s);
unsigned sl_script_worker(const struct sl_script *s);
bool sl_script_is_check(const struct sl_script *s);
/* Ends with NULL. */
const char *const *sl_script_args(const struct sl_script *s);
/* Bytes that Lua holds now, and the cap. */
size_t sl_script_memory(const struct sl_script *s, size_t *cap);

/* Runs fn(L, arg) so that it may throw and allocate. 0, or SL_E_SCRIPT / SL_E_MEMORY with the
   message; nothing is left on the stack. Not for policy code: there is no task. */
int sl_script_protect(struct sl_script *s, void (*fn)(lua_State *L, void *arg), void *arg,
                      struct sl_err *err);

/* Something that would outlive a script which was replaced: a repeating timer, a server, a
   subscription. Embedded in its owner, who takes it off with sl_link_remove() when it ends earlier.
   `close` runs once, outside Lua, at retirement or before sl_script_free() closes the Lua state,
   and takes itself off no list. */
struct sl_script_owned {
    struct sl_link link;
    void (*close)(struct sl_script_owned *o);
};
void sl_script_on_retire(struct sl_script *s, struct sl_script_owned *o,
                         void (*close)(struct sl_script_owned *));

/* Keeps a retired script alive for something that will still call into it. */
void sl_script_hold(struct sl_script *s);
void sl_script_release(struct sl_script *s);

#endif
