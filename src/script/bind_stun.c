/* sluice.stun: under which address the world sees this machine. */
#include <errno.h>
#include <openssl/rand.h>
#include <unistd.h>
#include "codec/stun.h"
#include "net/dns.h"
#include "script/library.h"

enum { TIMEOUT_S = 5, MOST_S = 60, TRIES = 3 };

/* A question that was sent. Its socket stays until the end: a late answer is as good. */
struct
try {
    struct sl_watch watch;
    struct stun *of;
    int fd; /* -1: none */
};

/* Owner: the task that waits. */
struct stun {
    struct sl_loop *loop;
    struct sl_task *task;
    struct sl_dns_query *query; /* until the name is known */
    struct sl_dns_answer addrs;
    struct sl_timer timer; /* to the next try */
    double pause_ms;
    struct try tries[TRIES];
    unsigned n_tries;
    uint16_t port;
    int code; /* why the last try failed; 0: it may still be answered */
    uint8_t id[SL_STUN_ID_LEN];
};

struct found {
    uint8_t ip[16];
    uint16_t port;
};

/* --- the end --- */

static void free_stun(void *op)
{
    struct stun *s = op;

    if (s->query != NULL)
        sl_dns_cancel(s->query);
    sl_timer_clear(&s->timer);
    for (unsigned i = 0; i < s->n_tries; i++) {
        if (s->tries[i].fd < 0)
            continue;
        sl_watch_set(&s->tries[i].watch, 0);
        close(s->tries[i].fd);
    }
    sl_loop_defer(s->loop, s, sl_free);
}

static void fail(struct stun *s, const char *why)
{
    struct sl_task *task = s->task;

    free_stun(s);
    sl_task_resume_error(task, why);
}

static int push_found(lua_State *L, void *arg)
{
    const struct found *f = arg;
    char text[SL_ADDR_TEXT_LEN];
    struct sl_addr addr;

    sl_addr_from_ip16(&addr, f->ip, f->port);
    lua_pushstring(L, sl_addr_ip(&addr, text));
    lua_pushinteger(L, f->port);
    return 2;
}

/* --- one try --- */

static void go_on(struct stun *s);

static void on_readable(struct sl_watch *w, unsigned what SL_UNUSED)
{
    struct try *t = w->user;
    struct stun *s = t->of;
    uint8_t bytes[SL_STUN_RESPONSE_MAX];
    ssize_t n = recv(t->fd, bytes, sizeof(bytes), 0);
    struct sl_task *task = s->task;
    struct found found;
    int rc;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) { /* nobody listens there, says the network */
        s->code = sl_error_from_errno(errno);
        sl_watch_set(w, 0);
        go_on(s);
        return;
    }
    rc = sl_stun_response(bytes, (size_t)n, s->id, found.ip, &found.port);
    if (rc == SL_E_NOT_FOUND)
        return;
    if (rc < 0) {
        fail(s, rc == SL_E_REFUSED ? "the server refuses" : "the answer is malformed");
        return;
    }
    free_stun(s);
    sl_task_resume(task, push_found, &found);
}

/* Connected, so that the kernel takes answers from nobody else and tells when there is no way. */
static int ask(struct stun *s, struct try *t, const struct sl_addr *server)
{
    uint8_t request[SL_STUN_REQUEST_LEN];

    t->of = s;
    t->fd = socket(server->sa.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (t->fd < 0)
        return sl_error_from_errno(errno);
    sl_watch_init(&t->watch, s->loop, t->fd, on_readable, t);
    sl_stun_request(request, s->id);
    if (connect(t->fd, &server->sa, sl_addr_len(server)) < 0 ||
        send(t->fd, request, sizeof(request), 0) < 0)
        return sl_error_from_errno(errno);
    sl_watch_set(&t->watch, SL_READ);
    return 0;
}

/* The next try, at the next address of the server; at once when it cannot even be sent. */
static void go_on(struct stun *s)
{
    while (s->n_tries < TRIES) {
        struct sl_addr server = s->addrs.addrs[s->n_tries % (unsigned)s->addrs.n];
        struct try *t = &s->tries[s->n_tries++];

        sl_addr_set_port(&server, s->port);
        if ((s->code = ask(s, t, &server)) == 0) {
            sl_timer_set(&s->timer, s->pause_ms);
            return;
        }
    }
    fail(s, sl_error_text(s->code != 0 ? s->code : SL_E_TIMEOUT));
}

static void on_due(struct sl_timer *t)
{
    struct stun *s = t->user;

    if (s->addrs.code != 0)
        fail(s, sl_error_text(s->addrs.code));
    else if (s->query != NULL)
        fail(s, sl_error_text(SL_E_TIMEOUT));
    else
        go_on(s);
}

static void on_resolved(void *user, const struct sl_dns_answer *answer)
{
    struct stun *s = user;

    s->query = NULL;
    s->addrs = *answer;
    sl_timer_set(&s->timer, 0);
}

static int stun(lua_State *L)
{
    struct sl_dns *dns = sl_script_services(sl_script_of(L))->dns;
    struct sl_str host = sl_arg_str(L, 1);
    uint16_t port = (uint16_t)sl_arg_int(L, 2, 1, 65535);
    double timeout = lua_isnoneornil(L, 3) ? TIMEOUT_S : sl_arg_seconds(L, 3);
    struct sl_task *task = sl_task_must_wait(L, "sluice.stun");
    uint8_t id[SL_STUN_ID_LEN];
    struct stun *s;

    if (RAND_bytes(id, sizeof(id)) != 1)
        return sl_push_failure(L, "the system has no random bytes");
    s = sl_zalloc(sizeof(*s));
    memcpy(s->id, id, sizeof(id));
    s->loop = sl_script_loop(sl_script_of(L));
    s->task = task;
    s->port = port;
    s->pause_ms = SL_MIN(timeout, MOST_S) * 1e3 / TRIES;
    sl_timer_init(&s->timer, s->loop, on_due, s);
    sl_timer_set(&s->timer, SL_MIN(timeout, MOST_S) * 1e3);
    s->query = sl_dns_resolve(dns, host, on_resolved, s, &s->addrs);
    if (s->query == NULL)
        sl_timer_set(&s->timer, 0);
    return sl_task_wait(task, free_stun, s);
}

void sl_bind_stun(lua_State *L)
{
    static const struct luaL_Reg functions[] = {{"stun", stun}, {NULL, NULL}};

    sl_bind_functions(L, functions);
}
