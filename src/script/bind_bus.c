/* sluice.bus: publish and subscribe between the states of the process (script/bus.h). */
#include "script/bus.h"
#include "script/library.h"

enum { MAX_RUNNING = 256 }; /* handlers of one subscription that wait at a time */

/* Lives while it is on or a handler of it goes on. */
struct subscription {
    struct sl_bus_sub *sub; /* NULL once cancelled */
    struct sl_script_owned owned;
    struct sl_script *script;
    struct subscription **object; /* Lua's pointer to it; NULL: collected */
    int fn;
    unsigned n_running;
    bool is_lagging;
};

static void free_if_over(struct subscription *s)
{
    if (s->sub != NULL || s->n_running > 0)
        return;
    if (s->object != NULL)
        *s->object = NULL;
    sl_free(s);
}

static void stop(struct subscription *s)
{
    if (s->sub == NULL)
        return;
    sl_bus_cancel(s->sub);
    s->sub = NULL;
    sl_link_remove(&s->owned.link);
    sl_unref(s->script, s->fn);
    s->fn = LUA_NOREF;
    free_if_over(s);
}

static void on_retire(struct sl_script_owned *o)
{
    stop(sl_container_of(o, struct subscription, owned));
}

static void on_handler_end(struct sl_task *task, enum sl_task_end end SL_UNUSED)
{
    struct subscription *s = sl_task_user(task);

    s->n_running--;
    free_if_over(s);
}

struct bus_event {
    struct subscription *sub;
    struct sl_str message;
};

static int push_event(lua_State *L, void *arg)
{
    struct bus_event *e = arg;

    lua_rawgeti(L, LUA_REGISTRYINDEX, e->sub->fn);
    lua_pushlstring(L, e->message.p, e->message.len);
    return 2;
}

static bool may_run(struct subscription *s)
{
    bool may = s->n_running < MAX_RUNNING;

    if (!may && !s->is_lagging)
        sl_log_warn("a subscription has too many handlers at work, it loses messages",
                    sl_f_int("handlers", MAX_RUNNING));
    s->is_lagging = !may;
    return may;
}

static void on_message(void *user, struct sl_str message)
{
    struct subscription *s = user;
    struct sl_task_opts opts = {SL_CONTEXT_HANDLER, "subscription", on_handler_end, s};
    struct bus_event e = {s, message};

    if (!may_run(s))
        return;
    s->n_running++;
    sl_task_run(s->script, &opts, push_event, &e);
}

static int publish(lua_State *L)
{
    struct sl_str topic = sl_arg_str(L, 1), message = sl_arg_str(L, 2);
    int n = sl_bus_publish(topic, message);

    if (n < 0)
        return luaL_error(L, "bus.publish: a topic has at most %d bytes, a message %d",
                          SL_BUS_MAX_TOPIC, SL_BUS_MAX_MESSAGE);
    lua_pushinteger(L, n);
    return 1;
}

static int subscribe(lua_State *L)
{
    struct sl_str topic = sl_arg_str(L, 1);
    struct subscription **object, *s;
    int fn;

    luaL_argcheck(L, topic.len > 0 && topic.len <= SL_BUS_MAX_TOPIC, 1,
                  "a topic of 1 to 256 bytes expected");
    luaL_checktype(L, 2, LUA_TFUNCTION);
    object = sl_object_new(L, "subscription", sizeof(*object));
    fn = sl_ref_function(L, 2);
    s = *object = sl_zalloc(sizeof(*s));
    s->script = sl_script_of(L);
    s->object = object;
    s->fn = fn;
    s->sub = sl_bus_subscribe(sl_script_loop(s->script), topic, on_message, s);
    sl_script_on_retire(s->script, &s->owned, on_retire);
    return 1;
}

static int subscription_cancel(lua_State *L)
{
    struct subscription **object = sl_object_check(L, 1, "subscription");

    if (*object != NULL)
        stop(*object);
    return 0;
}

/* A subscription that nobody holds goes on. */
static int subscription_gc(lua_State *L)
{
    struct subscription **object = lua_touserdata(L, 1);

    if (*object != NULL)
        (*object)->object = NULL;
    return 0;
}

void sl_bind_bus(lua_State *L)
{
    static const struct luaL_Reg functions[] = {
        {"bus.publish", publish}, {"bus.subscribe", subscribe}, {NULL, NULL}};
    static const struct luaL_Reg methods[] = {{"cancel", subscription_cancel}, {NULL, NULL}};

    sl_bind_functions(L, functions);
    sl_bind_class(L, "subscription", methods, subscription_gc);
}
