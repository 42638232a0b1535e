#include "script/bind_tunnel.h"

#include <math.h>

const struct sl_script_tunnels *sl_need_tunnels(lua_State *L, const char *what)
{
    const struct sl_script_tunnels *tunnels = sl_script_services(sl_script_of(L))->tunnels;

    sl_need_service(L, tunnels != NULL, what);
    return tunnels;
}

/* --- questions --- */

struct sl_tunnel_question {
    struct sl_task *task; /* NULL: cancelled */
};

struct sl_tunnel_question *sl_tunnel_ask(struct sl_task *task)
{
    struct sl_tunnel_question *q = sl_zalloc(sizeof(*q));

    q->task = task;
    return q;
}

static void cancel_question(void *op)
{
    struct sl_tunnel_question *q = op;

    q->task = NULL;
}

int sl_tunnel_await(struct sl_tunnel_question *q)
{
    return sl_task_wait(q->task, cancel_question, q);
}

void sl_tunnel_reply(struct sl_tunnel_question *q, sl_push_fn *push, void *arg)
{
    struct sl_task *task = q->task;

    sl_free(q);
    if (task != NULL)
        sl_task_resume(task, push, arg);
}

/* --- values --- */

uint32_t sl_opt_ms(lua_State *L, int arg, const char *name)
{
    double ms = ceil(sl_opt_seconds(L, arg, name, 0) * 1e3);

    return ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX;
}

void sl_set_str(lua_State *L, const char *name, struct sl_str value)
{
    if (value.p == NULL)
        return;
    lua_pushlstring(L, value.p, value.len);
    lua_setfield(L, -2, name);
}

void sl_set_number(lua_State *L, const char *name, double value)
{
    lua_pushnumber(L, value);
    lua_setfield(L, -2, name);
}

static void set_queue(lua_State *L, const struct sl_tunnel_stats *streams)
{
    lua_createtable(L, 0, 3);
    sl_set_number(L, "control", (double)streams->n_control);
    sl_set_number(L, "data", (double)streams->n_ready[0]);
    sl_set_number(L, "sustained", (double)streams->n_ready[1]);
    lua_setfield(L, -2, "queue");
}

static void set_streams(lua_State *L, const struct sl_tunnel_stats *streams)
{
    sl_set_number(L, "active_streams", (double)streams->n_streams);
    sl_set_number(L, "streams_opened", (double)streams->streams_opened);
    sl_set_number(L, "streams_reset", (double)streams->streams_reset);
    sl_set_number(L, "bytes_in", (double)streams->bytes_in);
    sl_set_number(L, "bytes_out", (double)streams->bytes_out);
    sl_set_number(L, "bytes_held", (double)streams->held);
    sl_set_number(L, "frames_unknown", (double)streams->frames_unknown);
    sl_set_number(L, "datagrams_dropped", (double)streams->datagrams_dropped);
    set_queue(L, streams);
}

static void set_link(lua_State *L, const struct sl_tunnel_status *status)
{
    char text[SL_ADDR_TEXT_LEN];

    sl_set_str(L, "transport", status->transport == SL_EDGE_QUIC ? SL_STR("quic") : SL_STR("tls"));
    sl_set_str(L, "remote", sl_str_c(sl_addr_text(&status->remote, text)));
    sl_set_number(L, "connected_at", (double)status->up_since);
    if (status->rtt_ms > 0)
        sl_set_number(L, "rtt_ms", status->rtt_ms);
}

void sl_push_tunnel_status(lua_State *L, const struct sl_tunnel_status *status)
{
    lua_createtable(L, 0, 24);
    lua_pushboolean(L, status->is_up);
    lua_setfield(L, -2, "connected");
    if (status->is_up)
        set_link(L, status);
    sl_set_number(L, "links", (double)status->links);
    sl_set_number(L, "sessions", (double)status->n_sessions);
    sl_set_number(L, "datagrams_in", (double)status->datagrams_in);
    sl_set_number(L, "datagrams_out", (double)status->datagrams_out);
    set_streams(L, &status->streams);
}
