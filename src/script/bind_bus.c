/* sluice.bus: publish and subscribe between the states of the process (script/bus.h). */
#include "script/bus.h"
#include "script/library.h"
#include "script/receiver.h"

enum { MAX_RUNNING = 256 }; /* handlers of one subscription that wait at a time */

/* Lives while Lua holds it, it is on, or somebody waits. */
struct subscription {
    struct sl_bus_sub *sub; /* NULL once cancelled */
    struct sl_script_owned owned;
    struct sl_script *script;
    struct subscription **object; /* Lua's pointer to it; NULL: collected */
    bool is_freed;
    /* With a function: a task for each message. */
    int fn; /* LUA_NOREF: without one */
    unsigned n_running;
    bool is_lagging;
    /* Without: messages wait for receive(). */
    struct sl_list inbox;
    struct sl_receiver receiver;
};

/* --- life --- */

static void free_if_over(struct subscription *s)
{
    if (s->object != NULL || s->sub != NULL || s->n_running > 0 || s->receiver.task != NULL ||
        s->is_freed)
        return;
    s->is_freed = true;
    sl_receiver_clear(&s->receiver);
    sl_loop_defer(sl_script_loop(s->script), s, sl_free);
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
    for (struct sl_link *it; (it = sl_list_first(&s->inbox)) != NULL;)
        sl_bus_item_free(sl_container_of(it, struct sl_bus_item, link));
    sl_receiver_wake(&s->receiver);
    free_if_over(s);
}

static void on_retire(struct sl_script_owned *o)
{
    stop(sl_container_of(o, struct subscription, owned));
}

/* Lua let go of it. One with a function goes on; of another nobody can ask for messages, once the
 * task that waits has its own. */
static void stop_if_lost(void *user)
{
    struct subscription *s = user;

    if (s->object == NULL && s->fn == LUA_NOREF && s->receiver.task == NULL)
        stop(s);
    free_if_over(s);
}

/* --- with a function --- */

static void on_handler_end(struct sl_task *task, enum sl_task_end end SL_UNUSED)
{
    struct subscription *s = sl_task_user(task);

    s->n_running--;
    free_if_over(s);
}

struct bus_event {
    struct subscription *sub;
    const struct sl_bus_item *item;
};

static int push_event(lua_State *L, void *arg)
{
    const struct bus_event *e = arg;

    lua_rawgeti(L, LUA_REGISTRYINDEX, e->sub->fn);
    lua_pushlstring(L, e->item->message.p, e->item->message.len);
    lua_pushlstring(L, e->item->topic.p, e->item->topic.len);
    return 3;
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

static void run_handler(struct subscription *s, struct sl_bus_item *item)
{
    struct sl_task_opts opts = {SL_CONTEXT_HANDLER, "subscription", on_handler_end, s};
    struct bus_event e = {s, item};

    if (!item->is_gap && may_run(s)) {
        s->n_running++;
        sl_task_run(s->script, &opts, push_event, &e);
    }
    sl_bus_item_free(item);
}

/* --- without one --- */

/* The oldest item; what ended the subscription when there is none. */
static int push_first(lua_State *L, void *arg)
{
    struct subscription *s = arg;
    struct sl_bus_item *item;

    if (sl_list_is_empty(&s->inbox))
        return sl_push_failure(L, "cancelled");
    item = sl_container_of(sl_list_first(&s->inbox), struct sl_bus_item, link);
    if (item->is_gap) {
        sl_push_failure(L, "lost");
    } else {
        lua_pushlstring(L, item->message.p, item->message.len);
        lua_pushlstring(L, item->topic.p, item->topic.len);
    }
    sl_bus_item_free(item);
    return 2;
}

static void on_item(void *user, struct sl_bus_item *item)
{
    struct subscription *s = user;

    if (s->fn != LUA_NOREF) {
        run_handler(s, item);
        return;
    }
    sl_list_append(&s->inbox, &item->link);
    sl_receiver_wake(&s->receiver);
}

/* --- functions --- */

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
    int fn = LUA_NOREF;

    luaL_argcheck(L, topic.len > 0 && topic.len <= SL_BUS_MAX_TOPIC, 1,
                  "a topic of 1 to 256 bytes expected");
    lua_settop(L, 2);
    object = sl_object_new(L, "subscription", sizeof(*object));
    if (!lua_isnoneornil(L, 2))
        fn = sl_ref_function(L, 2);
    s = *object = sl_zalloc(sizeof(*s));
    s->script = sl_script_of(L);
    s->object = object;
    s->fn = fn;
    sl_list_init(&s->inbox);
    sl_receiver_init(&s->receiver, sl_script_loop(s->script), push_first, stop_if_lost, s);
    s->sub = sl_bus_subscribe(sl_script_loop(s->script), topic, on_item, s);
    sl_script_on_retire(s->script, &s->owned, on_retire);
    return 1;
}

static struct subscription *check_subscription(lua_State *L)
{
    return *(struct subscription **)sl_object_check(L, 1, "subscription");
}

static int subscription_receive(lua_State *L)
{
    struct subscription *s = check_subscription(L);

    if (s->fn != LUA_NOREF)
        return luaL_error(L, "subscription:receive: the messages of this one go to its function");
    return sl_receiver_receive(&s->receiver, L, "subscription:receive",
                               !sl_list_is_empty(&s->inbox), s->sub == NULL);
}

static int subscription_cancel(lua_State *L)
{
    stop(check_subscription(L));
    return 0;
}

static int subscription_gc(lua_State *L)
{
    struct subscription **object = lua_touserdata(L, 1), *s = *object;

    if (s == NULL)
        return 0;
    *object = NULL;
    s->object = NULL;
    stop_if_lost(s);
    return 0;
}

void sl_bind_bus(lua_State *L)
{
    static const struct luaL_Reg functions[] = {
        {"bus.publish", publish}, {"bus.subscribe", subscribe}, {NULL, NULL}};
    static const struct luaL_Reg methods[] = {
        {"receive", subscription_receive}, {"cancel", subscription_cancel}, {NULL, NULL}};

    sl_bind_functions(L, functions);
    sl_bind_class(L, "subscription", methods, subscription_gc);
}
