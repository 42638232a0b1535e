#include "app/offer.h"

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/log.h"
#include "net/listener.h"

enum state {
    GREETING,  /* the newcomer has to speak */
    GATHERING, /* the owner has to */
    GIVING,    /* sockets are on their way */
    STARTING,  /* the newcomer has them */
    TAKEN,
};

/* The connection to the one newcomer. */
struct newcomer {
    int fd; /* -1: there is none */
    pid_t pid;
    enum state state;
    struct sl_watch watch;
    struct sl_deadline deadline;
    struct sl_fds fds;
    size_t n_sent;
};

struct sl_offer {
    struct sl_loop *loop;
    char *path;
    ino_t inode; /* of our socket file */
    dev_t device;
    struct sl_listener *listener; /* NULL: taken */
    struct newcomer newcomer;
    const struct sl_offer_handler *handler;
    void *user;
    struct sl_log_limit refusals;
};

/* --- the newcomer goes --- */

static void hang_up(struct sl_offer *o)
{
    struct newcomer *n = &o->newcomer;

    if (n->fd < 0)
        return;
    sl_watch_set(&n->watch, 0);
    sl_deadline_stop(&n->deadline);
    sl_fds_clear(&n->fds);
    close(n->fd);
    n->fd = -1;
}

/* Only looked at: somebody asks whether there is an offer. */
static bool has_spoken(const struct newcomer *n)
{
    return n->state > GREETING;
}

static void give_up(struct sl_offer *o, const char *why)
{
    const struct newcomer *n = &o->newcomer;

    if (n->state == TAKEN)
        sl_log_info("the successor has gone, ending all the same", sl_f_int("pid", n->pid));
    else if (has_spoken(n))
        sl_log_warn("nobody takes over, going on", sl_f_int("pid", n->pid), sl_f_str("why", why));
    hang_up(o);
}

/* With its last words. */
static void refuse(struct sl_offer *o, const char *why)
{
    unsigned n_suppressed;

    if (sl_log_may(&o->refusals, &n_suppressed))
        sl_log_warn("a takeover was refused", sl_f_int("pid", o->newcomer.pid),
                    sl_f_str("why", why), sl_f_int("suppressed", n_suppressed));
    (void)sl_handover_send(o->newcomer.fd, SL_HANDOVER_REFUSED, sl_str_c(why));
    hang_up(o);
}

static void on_deadline(struct sl_deadline *d)
{
    struct sl_offer *o = d->user;

    if (has_spoken(&o->newcomer))
        give_up(o, "it takes too long");
    else
        refuse(o, "no greeting in time");
}

/* --- sockets --- */

/* The rest when the newcomer has room for it. */
static void give(struct sl_offer *o)
{
    struct newcomer *n = &o->newcomer;
    int rc = 0;

    while (n->n_sent < n->fds.n && rc == 0) {
        size_t some = SL_MIN(n->fds.n - n->n_sent, (size_t)SL_HANDOVER_FDS);

        if ((rc = sl_handover_send_fds(n->fd, n->fds.at + n->n_sent, some)) == 0)
            n->n_sent += some;
    }
    if (rc == 0)
        rc = sl_handover_send(n->fd, SL_HANDOVER_END, SL_STR_NONE);
    if (rc == SL_E_AGAIN) {
        sl_watch_set(&n->watch, SL_READ | SL_WRITE);
        sl_deadline_set(&n->deadline, SL_OFFER_PATIENCE);
    } else if (rc < 0) {
        give_up(o, sl_error_text(rc));
    } else {
        sl_fds_clear(&n->fds);
        n->state = STARTING;
        sl_watch_set(&n->watch, SL_READ);
        sl_deadline_set(&n->deadline, SL_OFFER_START);
    }
}

void sl_offer_give(struct sl_offer *o, struct sl_fds *fds)
{
    struct newcomer *n = &o->newcomer;

    if (n->fd < 0 || n->state != GATHERING) {
        if (fds != NULL)
            sl_fds_clear(fds);
        return;
    }
    if (fds == NULL) {
        refuse(o, "no descriptors are left");
        return;
    }
    n->fds = *fds;
    *fds = (struct sl_fds){0};
    n->n_sent = 0;
    n->state = GIVING;
    give(o);
}

/* --- what the newcomer says --- */

static void stop_listening(struct sl_offer *o)
{
    struct stat st;

    if (o->listener == NULL)
        return;
    if (stat(o->path, &st) == 0 && st.st_ino == o->inode && st.st_dev == o->device)
        unlink(o->path);
    sl_listener_free(o->listener); /* its number is taken by no other file until then */
    o->listener = NULL;
}

static void be_greeted(struct sl_offer *o, const struct sl_handover *said)
{
    struct newcomer *n = &o->newcomer;

    if (said->kind != SL_HANDOVER_HELLO || said->body_len != 1) {
        refuse(o, "it does not speak the protocol of takeovers");
        return;
    }
    if (said->body[0] != SL_HANDOVER_VERSION) {
        refuse(o, "it speaks another version of the protocol");
        return;
    }
    sl_log_info("another sluice takes over", sl_f_int("pid", n->pid));
    n->state = GATHERING;
    sl_deadline_set(&n->deadline, SL_OFFER_PATIENCE);
    o->handler->on_wanted(o->user);
}

static void be_taken(struct sl_offer *o)
{
    struct newcomer *n = &o->newcomer;

    n->state = TAKEN;
    sl_deadline_stop(&n->deadline);
    stop_listening(o);
    o->handler->on_taken(o->user);
}

static void take(struct sl_offer *o, const struct sl_handover *said)
{
    struct newcomer *n = &o->newcomer;

    if (n->state == GREETING)
        be_greeted(o, said);
    else if (n->state == STARTING && said->kind == SL_HANDOVER_DONE && said->body_len == 0)
        be_taken(o);
    else if (n->state != TAKEN)
        refuse(o, "it does not keep to the protocol of takeovers");
    else
        sl_watch_set(&n->watch, 0); /* there is nothing left that we would do for it */
}

static void on_newcomer(struct sl_watch *w, unsigned what)
{
    struct sl_offer *o = w->user;
    struct newcomer *n = &o->newcomer;
    struct sl_handover said;
    int rc;

    if (what & SL_WRITE && n->state == GIVING) {
        give(o);
        return;
    }
    rc = sl_handover_receive(n->fd, &said, NULL);
    if (rc == 0)
        take(o, &said);
    else if (rc == SL_E_PROTOCOL)
        refuse(o, "it does not speak the protocol of takeovers");
    else if (rc != SL_E_AGAIN)
        give_up(o, "it has gone");
}

/* --- the newcomer comes --- */

/* Its successor may come before we have noticed. */
static void drop_if_gone(struct sl_offer *o)
{
    struct pollfd p = {.fd = o->newcomer.fd};

    if (p.fd >= 0 && o->newcomer.state != TAKEN && poll(&p, 1, 0) > 0)
        give_up(o, "it has gone");
}

static void turn_away(int fd, const char *why)
{
    (void)sl_handover_send(fd, SL_HANDOVER_REFUSED, sl_str_c(why));
    close(fd);
}

static void meet(struct sl_offer *o, int fd, pid_t pid)
{
    struct newcomer *n = &o->newcomer;

    *n = (struct newcomer){.fd = fd, .pid = pid, .state = GREETING};
    sl_deadline_init(&n->deadline, o->loop, on_deadline, o);
    sl_deadline_set(&n->deadline, SL_OFFER_PATIENCE);
    sl_watch_init(&n->watch, o->loop, fd, on_newcomer, o);
    sl_watch_set(&n->watch, SL_READ);
}

static void on_accept(void *user, int fd, const struct sl_addr *remote SL_UNUSED)
{
    struct sl_offer *o = user;
    struct sl_handover_peer peer = {.pid = -1};
    unsigned n_suppressed;

    if (sl_handover_check_peer(fd, &peer) < 0) {
        if (sl_log_may(&o->refusals, &n_suppressed))
            sl_log_warn("somebody else may not take over", sl_f_int("uid", peer.uid),
                        sl_f_int("pid", peer.pid), sl_f_int("suppressed", n_suppressed));
        turn_away(fd, "of another user");
        return;
    }
    drop_if_gone(o);
    if (o->newcomer.fd >= 0)
        turn_away(fd, "another takeover is under way");
    else
        meet(o, fd, peer.pid);
}

/* --- life --- */

int sl_offer_new(struct sl_offer **out, struct sl_loop *loop, const char *path,
                 const struct sl_offer_handler *handler, void *user, struct sl_err *err)
{
    struct sl_offer *o;
    struct stat st = {0};
    int fd, rc;

    if ((rc = sl_handover_listen(&fd, path, err)) < 0)
        return rc;
    o = sl_zalloc(sizeof(*o));
    o->loop = loop;
    o->path = sl_strdup(path);
    o->newcomer.fd = -1;
    o->handler = handler;
    o->user = user;
    if (stat(path, &st) == 0) {
        o->inode = st.st_ino;
        o->device = st.st_dev;
    }
    o->listener = sl_listener_new(loop, fd, on_accept, o);
    *out = o;
    return 0;
}

void sl_offer_over(struct sl_offer *o)
{
    if (o->newcomer.fd >= 0 && o->newcomer.state == TAKEN)
        (void)sl_handover_send(o->newcomer.fd, SL_HANDOVER_OVER, SL_STR_NONE);
}

int sl_offer_keep(struct sl_offer *o)
{
    struct newcomer *n = &o->newcomer;
    int fd = n->fd;

    if (fd < 0 || n->state != TAKEN)
        return -1;
    sl_watch_set(&n->watch, 0);
    n->fd = -1;
    return fd;
}

const char *sl_offer_path(const struct sl_offer *o)
{
    return o->path;
}

void sl_offer_free(struct sl_offer *o)
{
    if (o == NULL)
        return;
    hang_up(o);
    stop_listening(o);
    sl_free(o->path);
    sl_loop_defer(o->loop, o, sl_free);
}
