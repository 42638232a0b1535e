/* sluice.udp.bind: a socket for datagrams. */
#include "net/udp.h"
#include "script/server.h"

enum {
    MAX_DATAGRAM = 1500,
    MOST_DATAGRAM = 65535,
    QUEUE_DATAGRAMS = 512, /* more than these, or these bytes, wait in the kernel or get lost */
    QUEUE_BYTES = 1024 * 1024,
    MOST_S = 24 * 3600,
};

struct datagram {
    struct sl_link link;
    struct sl_addr remote;
    size_t len;
    uint8_t bytes[];
};

struct udp {
    struct sl_loop *loop;
    struct udp **object; /* Lua's pointer to it; NULL: collected */
    struct sl_udp *udp;  /* NULL: closed */
    struct sl_script_owned owned;
    struct sl_list queue; /* of datagram */
    size_t n_queued, n_bytes, max_datagram;
    struct sl_task *task; /* which receives; NULL: none */
    struct sl_timer timer;
    struct sl_task_link soon; /* tells it that the socket was closed */
    sa_family_t family;
    uint16_t port;
};

/* --- life --- */

/* Lua let go of it; a task that receives does not hold it: while it is suspended the arguments of
   the method are off its stack. */
static void free_if_lost(struct udp *u);

static struct sl_task *take_task(struct udp *u)
{
    struct sl_task *task = u->task;

    u->task = NULL;
    sl_timer_clear(&u->timer);
    free_if_lost(u);
    return task;
}

static void drop_all(struct udp *u)
{
    struct sl_link *it;

    while ((it = sl_list_pop(&u->queue)) != NULL)
        sl_free(sl_container_of(it, struct datagram, link));
    u->n_queued = u->n_bytes = 0;
}

static void tell_closed(void *user)
{
    struct udp *u = user;

    if (u->task != NULL)
        sl_task_resume_error(take_task(u), "closed");
}

static void close_udp(struct udp *u)
{
    if (u->udp == NULL)
        return;
    sl_link_remove(&u->owned.link);
    sl_udp_free(u->udp);
    u->udp = NULL;
    drop_all(u);
    sl_loop_soon(u->loop, &u->soon, tell_closed, u);
}

static void free_if_lost(struct udp *u)
{
    if (u->object != NULL || u->task != NULL)
        return;
    close_udp(u);
    sl_loop_unsoon(&u->soon);
    sl_loop_defer(u->loop, u, sl_free);
}

static void on_retire(struct sl_script_owned *o)
{
    close_udp(sl_container_of(o, struct udp, owned));
}

/* --- receiving --- */

static bool is_full(const struct udp *u)
{
    return u->n_queued >= QUEUE_DATAGRAMS || u->n_bytes >= QUEUE_BYTES;
}

static int push_datagram(lua_State *L, void *arg)
{
    const struct datagram *d = arg;
    char ip[SL_ADDR_TEXT_LEN];

    lua_pushlstring(L, (const char *)d->bytes, d->len);
    lua_pushstring(L, sl_addr_ip(&d->remote, ip));
    lua_pushinteger(L, sl_addr_port(&d->remote));
    return 3;
}

static void queue(struct udp *u, const struct sl_addr *remote, const uint8_t *bytes, size_t len)
{
    struct datagram *d;

    len = SL_MIN(len, u->max_datagram + 1); /* the byte too many says that it was cut */
    d = sl_alloc(sizeof(*d) + len);
    d->link = (struct sl_link){0};
    d->remote = *remote;
    d->len = len;
    if (len > 0)
        memcpy(d->bytes, bytes, len);
    sl_list_append(&u->queue, &d->link);
    u->n_queued++;
    u->n_bytes += len;
}

/* The oldest, which is the caller's to free; there is room for another one then. */
static struct datagram *take_datagram(struct udp *u)
{
    struct datagram *d = sl_container_of(sl_list_pop(&u->queue), struct datagram, link);

    u->n_queued--;
    u->n_bytes -= d->len;
    if (u->udp != NULL && !is_full(u))
        sl_udp_pause(u->udp, false);
    return d;
}

static void on_packet(void *user, const struct sl_udp_packet *p)
{
    struct udp *u = user;
    size_t at = 0;

    do {
        queue(u, &p->remote, p->bytes + at, SL_MIN(p->segment, p->len - at));
        at += p->segment;
    } while (at < p->len);
    if (is_full(u))
        sl_udp_pause(u->udp, true);
}

static void on_batch(void *user)
{
    struct udp *u = user;
    struct datagram *d;

    if (u->task == NULL || u->n_queued == 0)
        return;
    d = take_datagram(u);
    sl_task_resume(take_task(u), push_datagram, d);
    sl_free(d);
}

static void on_writable(void *user SL_UNUSED)
{
    /* send() does not wait: nobody is to be told. */
}

static void on_due(struct sl_timer *t)
{
    sl_task_resume_error(take_task(t->user), "timed out");
}

static void cancel(void *op)
{
    take_task(op);
}

/* --- methods --- */

static struct udp *check_udp(lua_State *L)
{
    return *(struct udp **)sl_object_check(L, 1, "udp");
}

static int udp_receive(lua_State *L)
{
    struct udp *u = check_udp(L);
    double timeout_s = lua_isnoneornil(L, 2) ? 0 : sl_arg_seconds(L, 2);
    struct sl_task *task = sl_task_must_wait(L, "udp:receive");

    if (u->task != NULL)
        return luaL_error(L, "udp:receive: another task is receiving from this socket");
    if (u->n_queued > 0) {
        int n = push_datagram(L, sl_container_of(sl_list_first(&u->queue), struct datagram, link));

        sl_free(take_datagram(u)); /* not before: to push it may throw */
        return n;
    }
    if (u->udp == NULL)
        return sl_push_failure(L, "closed");
    u->task = task;
    if (!lua_isnoneornil(L, 2))
        sl_timer_set(&u->timer, SL_MIN(timeout_s, MOST_S) * 1e3);
    return sl_task_wait(task, cancel, u);
}

static int udp_send(lua_State *L)
{
    struct udp *u = check_udp(L);
    struct sl_str bytes = sl_arg_str(L, 2), ip = sl_arg_str(L, 3);
    uint16_t port = (uint16_t)sl_arg_int(L, 4, 1, 65535);
    struct sl_addr to;
    struct sl_udp_send datagram = {
        .remote = &to, .bytes = (const uint8_t *)bytes.p, .len = bytes.len, .segment = bytes.len};
    bool too_long = bytes.len > MOST_DATAGRAM;

    if (sl_addr_parse(&to, ip, port) < 0)
        return luaL_argerror(L, 3, "an IP address expected");
    if (u->udp == NULL)
        return sl_push_failure(L, "closed");
    if (u->family == AF_INET && to.sa.sa_family == AF_INET6)
        return sl_push_failure_code(L, SL_E_UNREACHABLE);
    if (!too_long && sl_udp_send(u->udp, &datagram, 1, &too_long) == 0)
        return sl_push_failure(L, "too much is being sent");
    if (too_long)
        return sl_push_failure(L, "too long");
    lua_pushboolean(L, true);
    return 1;
}

static int udp_port(lua_State *L)
{
    lua_pushinteger(L, check_udp(L)->port);
    return 1;
}

static int udp_close(lua_State *L)
{
    close_udp(check_udp(L));
    return 0;
}

static int udp_gc(lua_State *L)
{
    struct udp **object = lua_touserdata(L, 1), *u = *object;

    if (u == NULL)
        return 0;
    *object = NULL;
    u->object = NULL;
    free_if_lost(u);
    return 0;
}

/* --- bind --- */

static struct udp *push_udp(lua_State *L)
{
    struct udp **object = sl_object_new(L, "udp", sizeof(*object));
    struct udp *u = sl_zalloc(sizeof(*u));

    *object = u;
    u->object = object;
    u->loop = sl_script_loop(sl_script_of(L));
    sl_list_init(&u->queue);
    sl_timer_init(&u->timer, u->loop, on_due, u);
    return u;
}

static int bind_(lua_State *L)
{
    static const char *const names[] = {"host", "port", "reuse_port", "max_datagram", NULL};
    static const struct sl_udp_handler handler = {
        .on_packet = on_packet, .on_batch = on_batch, .on_writable = on_writable};
    struct sl_addr at;
    struct sl_err err;
    struct udp *u;
    bool reuse_port;
    int fd;

    luaL_checktype(L, 1, LUA_TTABLE);
    sl_arg_options(L, 1, names);
    sl_server_address(L, &at);
    reuse_port = sl_opt_bool(L, 1, "reuse_port", false);
    u = push_udp(L);
    u->max_datagram = (size_t)sl_opt_int(L, 1, "max_datagram", 1, MOST_DATAGRAM, MAX_DATAGRAM);
    if (sl_socket_bind_udp(&fd, &at, reuse_port, &err) < 0)
        return sl_push_failure(L, err.text);
    sl_socket_allow_fragments(fd);
    u->family = at.sa.sa_family;
    u->port = sl_addr_port(&at);
    u->udp = sl_udp_new(u->loop, fd, &handler, u);
    sl_script_on_retire(sl_script_of(L), &u->owned, on_retire);
    return 1;
}

void sl_bind_udp(lua_State *L)
{
    static const struct luaL_Reg functions[] = {{"udp.bind", bind_}, {NULL, NULL}};
    static const struct luaL_Reg methods[] = {{"receive", udp_receive},
                                              {"send", udp_send},
                                              {"port", udp_port},
                                              {"close", udp_close},
                                              {NULL, NULL}};

    sl_bind_functions(L, functions);
    sl_bind_class(L, "udp", methods, udp_gc);
}
