/* sluice.redis.connect: dials, says who it is, and hands over the connection. */
#include <stdio.h>
#include "base/arena.h"
#include "script/library.h"
#include "script/redis_client.h"
#include "tls/dial.h"

enum { TIMEOUT_S = 5, MOST_MS = 24 * 3600 * 1000, MOST_DB = 1000000 };

struct opening {
    struct sl_dial dial;
    struct sl_task *task;
    struct sl_arena arena; /* all strings */
    struct sl_str username, password;
    char db[16];
    struct sl_redis_client *client; /* NULL: is dialling, or has handed it over */
    unsigned n_replies;             /* that are still to come */
};

/* --- the end --- */

static void free_opening(void *ptr)
{
    struct opening *o = ptr;

    sl_arena_clear(&o->arena);
    sl_free(o);
}

static void end(struct opening *o)
{
    sl_dial_cancel(&o->dial);
    if (o->client != NULL)
        sl_redis_client_free(o->client);
    o->client = NULL;
    sl_loop_defer(o->dial.opts.loop, o, free_opening);
}

static void cancel(void *op)
{
    end(op);
}

static void fail(struct opening *o, const char *text)
{
    struct sl_task *task = o->task;

    end(o);
    sl_task_resume_error(task, text);
}

static int push_client(lua_State *L, void *arg)
{
    struct opening *o = arg;

    sl_redis_client_push(L, o->client);
    o->client = NULL;
    return 1;
}

static void succeed(struct opening *o)
{
    sl_task_resume(o->task, push_client, o);
    end(o); /* with the connection, when there was no memory for the object */
}

/* --- saying who it is --- */

static void on_reply(void *user, const struct sl_redis_reply *reply)
{
    struct opening *o = user;
    char text[256];

    if (reply == NULL) {
        fail(o, sl_redis_text(sl_redis_error(sl_redis_client_redis(o->client))));
    } else if (reply->kind == SL_REDIS_ERROR) {
        snprintf(text, sizeof(text), "%.*s", SL_STR_FMT(reply->text));
        fail(o, text);
    } else if (--o->n_replies == 0) {
        succeed(o);
    }
}

static void say(struct opening *o, const struct sl_str *words, int n)
{
    const char *at[3];
    size_t lens[3];
    struct sl_redis_words list = {n, at, lens};
    struct sl_redis_ticket *ticket;
    int rc;

    for (int i = 0; i < n; i++) {
        at[i] = words[i].p;
        lens[i] = words[i].len;
    }
    rc = sl_redis_send(sl_redis_client_redis(o->client), &list, 0, on_reply, o, &ticket);
    sl_assert(rc == 0); /* it is new */
    o->n_replies++;
}

static void on_dialled(struct sl_dial *d, struct sl_stream **stream)
{
    struct opening *o = d->user;
    const struct sl_str as_user[] = {SL_STR("AUTH"), o->username, o->password};
    const struct sl_str as_default[] = {SL_STR("AUTH"), o->password};
    const struct sl_str select[] = {SL_STR("SELECT"), sl_str_c(o->db)};

    o->client = sl_redis_client_new(stream, d->opts.timeout_ms);
    if (o->username.p != NULL)
        say(o, as_user, 3);
    else if (o->password.p != NULL)
        say(o, as_default, 2);
    if (o->db[0] != '\0')
        say(o, select, 2);
    if (o->n_replies == 0)
        succeed(o);
}

static void on_failed(struct sl_dial *d, int code, const char *detail)
{
    char text[320];

    snprintf(text, sizeof(text), "%s%s%s", sl_error_text(code), detail != NULL ? ": " : "",
             detail != NULL ? detail : "");
    fail(d->user, text);
}

/* --- arguments --- */

static void read_where(lua_State *L, struct sl_dial_opts *opts)
{
    opts->unix_path = sl_opt_str(L, 1, "unix", SL_STR_NONE);
    opts->host = sl_opt_str(L, 1, "host", SL_STR("127.0.0.1"));
    opts->port = (uint16_t)sl_opt_int(L, 1, "port", 1, 65535, 6379);
    opts->timeout_ms = (uint32_t)SL_MIN(sl_opt_seconds(L, 1, "timeout", TIMEOUT_S) * 1e3, MOST_MS);
    luaL_argcheck(L, opts->timeout_ms > 0, 1, "option timeout: at least 0.001 seconds expected");
}

static int read_tls(lua_State *L, struct sl_tls_client **tls, struct sl_err *err)
{
    struct sl_str ca_file = sl_opt_str(L, 1, "ca_file", SL_STR_NONE);
    bool verify = sl_opt_bool(L, 1, "verify", true);

    if (!sl_opt_bool(L, 1, "tls", false))
        return 0;
    return sl_library_tls(L, verify, ca_file.p, tls, err);
}

static struct sl_str keep(struct opening *o, struct sl_str s)
{
    return s.p != NULL ? sl_arena_dup(&o->arena, s) : SL_STR_NONE;
}

/* Nothing throws from here on. */
static struct opening *new_opening(lua_State *L, struct sl_task *task, struct sl_dial_opts *opts)
{
    struct opening *o = sl_zalloc(sizeof(*o));

    o->task = task;
    opts->loop = sl_script_loop(sl_script_of(L));
    opts->dns = sl_script_services(sl_script_of(L))->dns;
    opts->host = keep(o, opts->host);
    opts->unix_path = keep(o, opts->unix_path);
    return o;
}

static int connect_(lua_State *L)
{
    static const char *const names[] = {"host",   "port",    "unix",     "tls",
                                        "verify", "ca_file", "username", "password",
                                        "db",     "timeout", NULL};
    struct sl_dial_opts opts = {0};
    struct sl_str username, password;
    struct sl_task *task;
    struct opening *o;
    struct sl_err err;
    int64_t db;

    sl_arg_options(L, 1, names);
    lua_settop(L, 1);
    if (lua_isnil(L, 1)) {
        lua_createtable(L, 0, 0);
        lua_replace(L, 1);
    }
    read_where(L, &opts);
    username = sl_opt_str(L, 1, "username", SL_STR_NONE);
    password = sl_opt_str(L, 1, "password", SL_STR_NONE);
    luaL_argcheck(L, username.p == NULL || password.p != NULL, 1,
                  "option username needs a password");
    db = sl_opt_int(L, 1, "db", 0, MOST_DB, 0);
    task = sl_task_must_wait(L, "sluice.redis.connect");
    if (read_tls(L, &opts.tls, &err) < 0)
        return sl_push_failure(L, err.text);
    o = new_opening(L, task, &opts);
    o->username = keep(o, username);
    o->password = keep(o, password);
    if (db > 0)
        snprintf(o->db, sizeof(o->db), "%d", (int)db);
    sl_dial_start(&o->dial, &opts, on_dialled, on_failed, o);
    return sl_task_wait(task, cancel, o);
}

void sl_bind_redis(lua_State *L)
{
    static const struct luaL_Reg functions[] = {{"redis.connect", connect_}, {NULL, NULL}};

    sl_bind_functions(L, functions);
    sl_bind_redis_client(L);
}
