#include "app/tunnels.h"

#include "app/supervisor.h"
#include "script/bus.h"
#include "script/json.h"

struct sl_worker *sl_tunnels_worker(const struct sl_tunnels *t)
{
    return &t->rt->workers[0];
}

void sl_tunnels_post(struct sl_tunnels *t, void (*fn)(void *), void *arg)
{
    if (!t->is_over)
        sl_loop_post(sl_tunnels_worker(t)->loop, fn, arg);
}

void sl_tunnels_publish(const char *event, const char *id_key, struct sl_str id, uint32_t stream)
{
    struct sl_buf text = {0};

    sl_buf_printf(&text, "{\"event\":\"%s\"", event);
    if (id_key != NULL) {
        sl_buf_printf(&text, ",\"%s\":", id_key);
        sl_json_put_string(&text, id);
    }
    if (stream != 0)
        sl_buf_printf(&text, ",\"streamId\":%u", stream);
    sl_buf_append_str(&text, SL_STR("}"));
    (void)sl_bus_publish(SL_STR("tunnel"), sl_buf_str(&text));
    sl_buf_clear(&text);
}

void sl_tunnels_opened(struct sl_tunnels *t)
{
    if (t->has_told_crash || sl_supervisor_crashes() == 0)
        return;
    t->has_told_crash = true;
    sl_tunnels_publish("crashRecovered", NULL, SL_STR_NONE, 0);
}

struct sl_tunnels *sl_tunnels_new(struct sl_runtime *rt)
{
    struct sl_tunnels *t = sl_zalloc(sizeof(*t));

    t->rt = rt;
    sl_list_init(&t->edges);
    sl_list_init(&t->hubs);
    sl_list_init(&t->edges_there);
    sl_list_init(&t->hubs_there);
    t->services.user = t;
    sl_edges_fill(&t->services);
    sl_hubs_fill(&t->services);
    return t;
}

void sl_tunnels_stop(struct sl_tunnels *t)
{
    t->is_over = true;
}

void sl_tunnels_free(struct sl_tunnels *t)
{
    if (t == NULL)
        return;
    sl_edges_clear(t);
    sl_hubs_clear(t);
    sl_free(t);
}

void sl_tunnels_end_there(struct sl_tunnels *t)
{
    sl_edges_end_there(t);
    sl_hubs_end_there(t);
}

struct sl_edge *sl_tunnels_find_edge(void *worker, struct sl_str name)
{
    struct sl_worker *w = worker;

    return w->index == 1 ? sl_edges_find(w->rt->tunnels, name) : NULL;
}
