#include "script/redis_client.h"

#include "script/bind.h"
#include "script/receiver.h"

enum {
    MAX_INBOX = 16 * 1024,            /* messages, */
    MAX_INBOX_LEN = 16 * 1024 * 1024, /* and bytes, that wait for the script */
    MAX_WORDS = 1024,
};

/* A message that the script has not asked for yet: text, channel and pattern in a row. */
struct received {
    struct sl_link link;
    struct sl_redis_message message;
    size_t len;
    char bytes[];
};

struct sl_redis_client {
    struct sl_loop *loop;
    struct sl_redis_client **object; /* Lua's pointer to it; NULL: collected, or not pushed yet */
    struct sl_redis *redis;
    unsigned n_commands; /* that tasks wait for */
    struct sl_list inbox;
    size_t n_inbox, inbox_len;
    struct sl_receiver receiver;
    bool is_freed;
};

/* A task that waits for the reply to its command. */
struct command {
    struct sl_redis_client *of;
    struct sl_task *task;
    struct sl_redis_ticket *ticket;
    bool is_subscription; /* the reply is `true` */
};

const char *sl_redis_text(int code)
{
    switch (code) {
    case SL_E_CLOSED:
    case SL_E_RESET:
        return "closed";
    case SL_E_LIMIT:
        return "the reply is too large";
    default:
        return sl_error_text(code);
    }
}

/* --- life --- */

static void free_client(void *ptr)
{
    struct sl_redis_client *c = ptr;

    for (struct sl_link *it; (it = sl_list_pop(&c->inbox)) != NULL;)
        sl_free(sl_container_of(it, struct received, link));
    sl_free(c);
}

void sl_redis_client_free(struct sl_redis_client *c)
{
    if (c->is_freed)
        return;
    c->is_freed = true;
    sl_redis_free(c->redis);
    sl_receiver_clear(&c->receiver);
    sl_loop_defer(c->loop, c, free_client);
}

static void free_if_lost(void *user)
{
    struct sl_redis_client *c = user;

    if (c->object == NULL && c->n_commands == 0 && c->receiver.task == NULL)
        sl_redis_client_free(c);
}

struct sl_redis *sl_redis_client_redis(struct sl_redis_client *c)
{
    return c->redis;
}

/* --- messages --- */

static void update_reading(struct sl_redis_client *c)
{
    sl_redis_pause(c->redis, c->n_inbox >= MAX_INBOX || c->inbox_len >= MAX_INBOX_LEN);
}

static struct sl_str keep(char **at, struct sl_str s)
{
    struct sl_str copy = sl_str(*at, s.len);

    if (s.p == NULL)
        return SL_STR_NONE;
    memcpy(*at, s.p, s.len);
    *at += s.len;
    return copy;
}

static void on_message(void *user, const struct sl_redis_message *m)
{
    struct sl_redis_client *c = user;
    size_t len = m->text.len + m->channel.len + m->pattern.len;
    struct received *kept = sl_zalloc(sizeof(*kept) + len);
    char *at = kept->bytes;

    kept->len = len;
    kept->message.text = keep(&at, m->text);
    kept->message.channel = keep(&at, m->channel);
    kept->message.pattern = keep(&at, m->pattern);
    sl_list_append(&c->inbox, &kept->link);
    c->n_inbox++;
    c->inbox_len += len;
    update_reading(c);
    sl_receiver_wake(&c->receiver);
}

static int push_first(lua_State *L, void *arg)
{
    struct sl_redis_client *c = arg;
    struct received *first;

    if (sl_list_is_empty(&c->inbox))
        return sl_push_failure(L, "closed");
    first = sl_container_of(sl_list_first(&c->inbox), struct received, link);
    lua_pushlstring(L, first->message.text.p, first->message.text.len);
    lua_pushlstring(L, first->message.channel.p, first->message.channel.len);
    if (first->message.pattern.p != NULL)
        lua_pushlstring(L, first->message.pattern.p, first->message.pattern.len);
    else
        lua_pushnil(L);
    sl_link_remove(&first->link);
    c->n_inbox--;
    c->inbox_len -= first->len;
    sl_free(first);
    update_reading(c);
    return 3;
}

static void on_end(void *user, int code SL_UNUSED)
{
    struct sl_redis_client *c = user;

    sl_receiver_wake(&c->receiver);
}

/* --- commands --- */

/* The depth is bounded by the parser. */
static void push_value(lua_State *L, const struct sl_redis_reply *r)
{
    luaL_checkstack(L, 3, "out of memory");
    switch (r->kind) {
    case SL_REDIS_NIL:
        lua_pushboolean(L, 0);
        break;
    case SL_REDIS_TEXT:
        lua_pushlstring(L, r->text.p, r->text.len);
        break;
    case SL_REDIS_INTEGER:
        lua_pushnumber(L, (lua_Number)r->integer);
        break;
    case SL_REDIS_ERROR: /* of one command of a transaction */
        lua_createtable(L, 0, 1);
        lua_pushlstring(L, r->text.p, r->text.len);
        lua_setfield(L, -2, "error");
        break;
    case SL_REDIS_ARRAY:
        lua_createtable(L, (int)r->n, 0);
        for (size_t i = 0; i < r->n; i++) {
            push_value(L, &r->items[i]);
            lua_rawseti(L, -2, (int)i + 1);
        }
        break;
    }
}

static int push_reply(lua_State *L, void *arg)
{
    const struct sl_redis_reply *r = arg;

    if (r->kind == SL_REDIS_NIL || r->kind == SL_REDIS_ERROR)
        lua_pushnil(L);
    else
        push_value(L, r);
    if (r->kind != SL_REDIS_ERROR)
        return 1;
    lua_pushlstring(L, r->text.p, r->text.len);
    return 2;
}

static void on_reply(void *user, const struct sl_redis_reply *reply)
{
    struct command *op = user;
    struct sl_redis_client *c = op->of;
    struct sl_task *task = op->task;
    bool is_subscription = op->is_subscription;

    sl_free(op);
    c->n_commands--;
    if (reply == NULL)
        sl_task_resume_error(task, sl_redis_text(sl_redis_error(c->redis)));
    else if (is_subscription && reply->kind != SL_REDIS_ERROR)
        sl_task_resume_true(task);
    else
        sl_task_resume(task, push_reply, (void *)reply);
    free_if_lost(c); /* freed memory waits for the end of the turn */
}

static void cancel_command(void *user)
{
    struct command *op = user;
    struct sl_redis_client *c = op->of;

    sl_redis_forget(op->ticket);
    sl_free(op);
    c->n_commands--;
    free_if_lost(c);
}

static struct sl_redis_client *check_client(lua_State *L)
{
    return *(struct sl_redis_client **)sl_object_check(L, 1, "redis");
}

/* Sends the strings from argument 2 on. */
static int send_words(lua_State *L, struct sl_task *task, const char *first, unsigned n_channels)
{
    struct sl_redis_client *c = check_client(L);
    const char *at[MAX_WORDS + 1];
    size_t lens[MAX_WORDS + 1];
    struct sl_redis_words words = {0, at, lens};
    struct command *op = sl_zalloc(sizeof(*op));
    int rc;

    if (first != NULL) {
        at[0] = first;
        lens[words.n++] = strlen(first);
    }
    for (int i = 2; i <= lua_gettop(L); i++, words.n++)
        at[words.n] = lua_tolstring(L, i, &lens[words.n]);
    *op = (struct command){.of = c, .task = task, .is_subscription = n_channels > 0};
    rc = sl_redis_send(c->redis, &words, n_channels, on_reply, op, &op->ticket);
    if (rc < 0) {
        sl_free(op);
        return sl_push_failure(L, rc == SL_E_CLOSED ? "closed" : "too much is under way");
    }
    c->n_commands++;
    return sl_task_wait(task, cancel_command, op);
}

static void check_words(lua_State *L, const char *what)
{
    int n = lua_gettop(L);

    luaL_checkstring(L, 2);
    if (n - 1 > MAX_WORDS)
        luaL_error(L, "%s: at most %d words expected", what, MAX_WORDS);
    for (int i = 3; i <= n; i++)
        luaL_checkstring(L, i);
}

/* They change what the next replies mean. */
static void check_name(lua_State *L)
{
    static const char *const refused[] = {
        "subscribe",    "psubscribe", "ssubscribe", "unsubscribe", "punsubscribe",
        "sunsubscribe", "monitor",    "sync",       "psync",       "hello"};
    struct sl_str name = sl_arg_str(L, 2);

    for (size_t i = 0; i < SL_COUNT(refused); i++) {
        if (sl_str_ieq(name, sl_str_c(refused[i])))
            luaL_error(L, "redis:command: %s is not for this; see redis:subscribe", name.p);
    }
    if (sl_str_ieq(name, SL_STR("client")) && lua_gettop(L) >= 3 &&
        sl_str_ieq(sl_arg_str(L, 3), SL_STR("reply")))
        luaL_error(L, "redis:command: CLIENT REPLY would take away the replies");
}

static int redis_command(lua_State *L)
{
    struct sl_task *task;

    check_client(L);
    check_words(L, "redis:command");
    check_name(L);
    task = sl_task_must_wait(L, "redis:command");
    return send_words(L, task, NULL, 0);
}

static int change_subscription(lua_State *L, const char *what, const char *word)
{
    struct sl_task *task;

    check_client(L);
    check_words(L, what);
    task = sl_task_must_wait(L, what);
    return send_words(L, task, word, (unsigned)lua_gettop(L) - 1);
}

static int redis_subscribe(lua_State *L)
{
    return change_subscription(L, "redis:subscribe", "SUBSCRIBE");
}

static int redis_psubscribe(lua_State *L)
{
    return change_subscription(L, "redis:psubscribe", "PSUBSCRIBE");
}

static int redis_unsubscribe(lua_State *L)
{
    return change_subscription(L, "redis:unsubscribe", "UNSUBSCRIBE");
}

static int redis_punsubscribe(lua_State *L)
{
    return change_subscription(L, "redis:punsubscribe", "PUNSUBSCRIBE");
}

static int redis_receive(lua_State *L)
{
    struct sl_redis_client *c = check_client(L);

    return sl_receiver_receive(&c->receiver, L, "redis:receive", !sl_list_is_empty(&c->inbox),
                               sl_redis_error(c->redis) != 0);
}

static int redis_close(lua_State *L)
{
    sl_redis_close(check_client(L)->redis);
    return 0;
}

static int redis_gc(lua_State *L)
{
    struct sl_redis_client **object = lua_touserdata(L, 1), *c = *object;

    if (c == NULL)
        return 0;
    *object = NULL;
    c->object = NULL;
    free_if_lost(c);
    return 0;
}

/* --- making one --- */

struct sl_redis_client *sl_redis_client_new(struct sl_stream **stream, uint64_t timeout_ms)
{
    static const struct sl_redis_handler handler = {on_message, on_end};
    struct sl_redis_client *c = sl_zalloc(sizeof(*c));

    c->loop = (*stream)->loop;
    sl_list_init(&c->inbox);
    sl_receiver_init(&c->receiver, c->loop, push_first, free_if_lost, c);
    c->redis = sl_redis_new(stream, timeout_ms, &handler, c);
    return c;
}

void sl_redis_client_push(lua_State *L, struct sl_redis_client *c)
{
    struct sl_redis_client **object = sl_object_new(L, "redis", sizeof(*object));

    *object = c;
    c->object = object;
}

void sl_bind_redis_client(lua_State *L)
{
    static const struct luaL_Reg methods[] = {
        {"command", redis_command},
        {"subscribe", redis_subscribe},
        {"psubscribe", redis_psubscribe},
        {"unsubscribe", redis_unsubscribe},
        {"punsubscribe", redis_punsubscribe},
        {"receive", redis_receive},
        {"close", redis_close},
        {NULL, NULL},
    };

    sl_bind_class(L, "redis", methods, redis_gc);
}
