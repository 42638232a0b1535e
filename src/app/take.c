#include "app/take.h"

#include <unistd.h>

enum state { ASKING, HOLDING, LEAVING, OVER };

struct sl_take {
    struct sl_loop *loop;
    int fd;
    pid_t pid;
    enum state state;
    struct sl_watch watch;
    struct sl_deadline deadline;
    struct sl_fds fds;
    const struct sl_take_handler *handler;
    void *user;
};

/* The connection is over, and with it what the caller waits for. */
static void lose(struct sl_take *t, int code, const char *why)
{
    struct sl_err err;

    sl_err_set(&err, code, "%s", why);
    sl_watch_set(&t->watch, 0);
    sl_deadline_stop(&t->deadline);
    if (t->state == ASKING) {
        t->handler->on_sockets(t->user, &err);
        return;
    }
    if (t->state == LEAVING) {
        t->state = OVER;
        t->handler->on_over(t->user, &err);
    }
    t->handler->on_gone(t->user);
}

static void on_deadline(struct sl_deadline *d)
{
    struct sl_take *t = d->user;
    struct sl_err err;

    if (t->state == ASKING) {
        lose(t, SL_E_TIMEOUT, sl_error_text(SL_E_TIMEOUT));
        return;
    }
    t->state = OVER; /* it may still end, which we hear */
    sl_err_set(&err, SL_E_TIMEOUT, "%s", sl_error_text(SL_E_TIMEOUT));
    t->handler->on_over(t->user, &err);
}

static void hear(struct sl_take *t, const struct sl_handover *said)
{
    if (said->kind == SL_HANDOVER_REFUSED) {
        char why[SL_HANDOVER_MAX + 1];

        memcpy(why, said->body, said->body_len);
        why[said->body_len] = '\0';
        lose(t, SL_E_REFUSED, why);
    } else if (t->state == ASKING && said->kind == SL_HANDOVER_END) {
        t->state = HOLDING;
        sl_deadline_clear(&t->deadline);
        t->handler->on_sockets(t->user, NULL);
    } else if (t->state == LEAVING && said->kind == SL_HANDOVER_OVER) {
        t->state = OVER;
        sl_deadline_clear(&t->deadline);
        t->handler->on_over(t->user, NULL);
    } else if (t->state != ASKING || said->kind != SL_HANDOVER_SOCKETS) {
        lose(t, SL_E_PROTOCOL, "it does not speak the protocol of takeovers");
    }
}

static void on_readable(struct sl_watch *w, unsigned what SL_UNUSED)
{
    struct sl_take *t = w->user;
    struct sl_handover said;
    int rc = sl_handover_receive(t->fd, &said, t->state == ASKING ? &t->fds : NULL);

    if (rc == 0)
        hear(t, &said);
    else if (rc == SL_E_CLOSED)
        lose(t, SL_E_CLOSED, "the other one has gone");
    else if (rc == SL_E_LIMIT)
        lose(t, rc, "no descriptors are left for its sockets");
    else if (rc != SL_E_AGAIN)
        lose(t, rc, sl_error_text(rc));
}

/* --- what the owner does --- */

static int greet(int fd, struct sl_handover_peer *peer, struct sl_err *err)
{
    const char version = SL_HANDOVER_VERSION;
    int rc = sl_handover_check_peer(fd, peer);

    if (rc < 0)
        return sl_err_set(err, rc, "somebody else listens there, of the user %u",
                          (unsigned)peer->uid);
    if (peer->pid == getpid())
        return sl_err_set(err, SL_E_NOT_FOUND, "nobody is there");
    rc = sl_handover_send(fd, SL_HANDOVER_HELLO, sl_str(&version, 1));
    if (rc < 0 && rc != SL_E_RESET) /* it has closed: we are about to hear why */
        return sl_err_set(err, rc, "cannot speak to it: %s", sl_error_text(rc));
    return 0;
}

int sl_take_new(struct sl_take **out, struct sl_loop *loop, const char *path, uint64_t timeout,
                const struct sl_take_handler *handler, void *user, struct sl_err *err)
{
    struct sl_handover_peer peer = {0};
    struct sl_take *t;
    int fd, rc;

    if ((rc = sl_handover_connect(&fd, path, err)) < 0)
        return rc;
    if ((rc = greet(fd, &peer, err)) < 0) {
        close(fd);
        return rc;
    }
    t = sl_zalloc(sizeof(*t));
    t->loop = loop;
    t->fd = fd;
    t->pid = peer.pid;
    t->handler = handler;
    t->user = user;
    sl_deadline_init(&t->deadline, loop, on_deadline, t);
    sl_deadline_set(&t->deadline, timeout);
    sl_watch_init(&t->watch, loop, fd, on_readable, t);
    sl_watch_set(&t->watch, SL_READ);
    *out = t;
    return 0;
}

struct sl_fds *sl_take_sockets(struct sl_take *t)
{
    return &t->fds;
}

pid_t sl_take_pid(const struct sl_take *t)
{
    return t->pid;
}

int sl_take_done(struct sl_take *t, struct sl_err *err)
{
    int rc;

    sl_assert(t->state == HOLDING);
    if ((rc = sl_handover_send(t->fd, SL_HANDOVER_DONE, SL_STR_NONE)) < 0)
        return sl_err_set(err, rc, "the other one has gone");
    t->state = LEAVING;
    sl_deadline_set(&t->deadline, SL_TAKE_DONE_TIMEOUT);
    return 0;
}

void sl_take_free(struct sl_take *t)
{
    if (t == NULL)
        return;
    sl_watch_set(&t->watch, 0);
    sl_deadline_stop(&t->deadline);
    sl_fds_clear(&t->fds);
    close(t->fd);
    sl_loop_defer(t->loop, t, sl_free);
}
