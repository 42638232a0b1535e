#include "app/ports.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/log.h"
#include "net/listener.h"
#include "net/udp.h"
#include "quic/steer.h"

/* --- the table --- */

static int compare(const void *va, const void *vb)
{
    const struct sl_port *a = va, *b = vb;

    return a->number != b->number ? a->number - b->number : (int)a->use - (int)b->use;
}

static struct sl_port *find(const struct sl_ports *ports, uint16_t number, enum sl_port_use use)
{
    struct sl_port key = {.number = number, .use = use};

    return ports->n > 0 ? bsearch(&key, ports->at, ports->n, sizeof(key), compare) : NULL;
}

static void add_none(struct sl_fds *fds, size_t n)
{
    while (fds->n < n)
        sl_fds_add(fds, -1);
}

/* --- binding --- */

static int bind_at(int *fd, struct sl_addr *at, bool is_udp, bool reuseport, struct sl_err *err)
{
    return is_udp ? sl_socket_bind_udp(fd, at, reuseport, err)
                  : sl_socket_listen(fd, at, reuseport, err);
}

/* [::] takes IPv4, too; a kernel without IPv6 gets 0.0.0.0. */
static int bind_any(int *fd, const struct sl_port *port, bool reuseport, struct sl_err *err)
{
    static const char *const any[] = {"::", "0.0.0.0"};
    int rc = 0;

    for (size_t i = 0; i < SL_COUNT(any); i++) {
        struct sl_addr at;

        (void)sl_addr_parse(&at, sl_str_c(any[i]), port->number);
        rc = bind_at(fd, &at, port->use != SL_PORT_TCP, reuseport, err);
        if (rc == 0 || rc == SL_E_IN_USE || rc == SL_E_DENIED)
            return rc;
    }
    return rc;
}

static int bind_one(int *fd, const struct sl_port *port, bool reuseport, struct sl_err *err)
{
    struct sl_addr at = port->at;

    if (at.sa.sa_family == AF_UNSPEC)
        return bind_any(fd, port, reuseport, err);
    sl_addr_set_port(&at, port->number);
    return bind_at(fd, &at, port->use != SL_PORT_TCP, reuseport, err);
}

/* SO_REUSEPORT would let a second sluice share the port in silence: first try whether the port is
 * free without it. */
static int probe(const struct sl_port *port, struct sl_err *err)
{
    int fd, rc = bind_one(&fd, port, false, err);

    if (rc == 0)
        close(fd);
    return rc;
}

static void steer(int fd, unsigned n_workers)
{
    static bool is_told;
    int rc = sl_quic_steer(fd, n_workers);

    if (rc < 0 && !is_told)
        sl_log_warn("the kernel does not steer QUIC packets: workers hand them on to each other",
                    sl_f_str("error", sl_error_text(rc)));
    is_told = is_told || rc < 0;
}

static int duplicate(const struct sl_fds *from, struct sl_fds *to, struct sl_err *err)
{
    for (size_t i = 0; i < from->n; i++) {
        if (sl_fds_add_copy(to, from->at[i]) < 0)
            return sl_err_set(err, SL_E_LIMIT, "no file descriptor is left");
    }
    return 0;
}

/* Workers more join the group of those that listen already. */
static int bind_more(struct sl_port_change *c, struct sl_err *err)
{
    int fd, rc = 0;

    while (c->fds.n < c->n_after && (rc = bind_one(&fd, &c->port, true, err)) == 0)
        sl_fds_add(&c->fds, fd);
    return rc;
}

static int bind_group(struct sl_port_change *c, struct sl_err *err)
{
    int rc = c->n_before > 0 ? 0 : probe(&c->port, err);

    add_none(&c->fds, c->n_before);
    return rc < 0 ? rc : bind_more(c, err);
}

/* The sockets stay where they are bound, as those of every port that is open. They stay the table's
 * until the change is made. */
static int use_inherited(struct sl_port_change *c, const struct sl_inherited_port *from,
                         struct sl_err *err)
{
    int rc = duplicate(&from->fds, &c->fds, err);

    c->port.at = from->at;
    return rc < 0 ? rc : bind_more(c, err);
}

/* `closing`: the group as it is in the table still, or NULL. */
static int bind_quic(struct sl_port_change *c, const struct sl_port *closing, struct sl_err *err)
{
    int rc;

    if (closing != NULL)
        return duplicate(&closing->fds, &c->fds, err);
    if ((rc = bind_group(c, err)) < 0)
        return rc;
    steer(c->fds.at[0], c->n_after);
    c->port.fds = c->fds;
    c->fds = (struct sl_fds){0};
    return duplicate(&c->port.fds, &c->fds, err);
}

/* --- planning --- */

struct plan {
    struct sl_ports_change *change;
    const struct sl_ports *ports;
    bool has_quic;
    size_t n_sockets; /* those that are open, with what is added */
};

/* A group of QUIC is in the table and with the workers. */
static size_t sockets_of(enum sl_port_use use, unsigned n_workers)
{
    return (size_t)n_workers * (use == SL_PORT_QUIC ? 2 : 1);
}

static size_t count_sockets(const struct sl_ports *ports)
{
    size_t n = 0;

    for (size_t i = 0; i < ports->n; i++)
        n += sockets_of(ports->at[i].use, ports->at[i].n_open);
    return n;
}

/* A set of routes must not take the descriptors that visitors need. */
static int check_room(const struct plan *p, size_t n_more, struct sl_err *err)
{
    size_t most = p->ports->max_sockets;

    if (most == 0 || p->n_sockets + n_more <= most)
        return 0;
    return sl_err_set(
        err, SL_E_LIMIT,
        "there is no room for its sockets: all ports together may have %zu, a quarter "
        "of the file descriptors",
        most);
}

static unsigned workers_for(const struct plan *p, const struct sl_port_info *info,
                            enum sl_port_use use)
{
    bool is_wanted = use == SL_PORT_TCP ? info->listens & SL_TRANSPORT_TCP : info->has_udp;

    if (use == SL_PORT_QUIC) /* never goes into a tunnel as such */
        return p->has_quic && info->has_http3 ? p->ports->n_workers : 0;
    if (!is_wanted)
        return 0;
    return info->is_single ? 1 : p->ports->n_workers;
}

/* HTTP/3 and plain datagrams cannot be told apart on one port. The sockets of either are not closed
 * before the workers have been asked, and those of QUIC not before its connections have ended. */
static int check_neighbour(const struct plan *p, const struct sl_port_info *info,
                           enum sl_port_use use, struct sl_err *err)
{
    if (use == SL_PORT_UDP && (workers_for(p, info, SL_PORT_QUIC) > 0 ||
                               find(p->ports, info->port, SL_PORT_QUIC) != NULL))
        return sl_err_set(err, SL_E_IN_USE,
                          "datagrams cannot be taken where HTTP/3 is served, until the last of its "
                          "connections has ended");
    if (use == SL_PORT_QUIC && find(p->ports, info->port, SL_PORT_UDP) != NULL)
        return sl_err_set(err, SL_E_IN_USE,
                          "HTTP/3 cannot be served where datagrams are taken; remove their route "
                          "first");
    return 0;
}

static void note_failure(struct sl_ports_change *change, const struct sl_port *port,
                         struct sl_err *err)
{
    sl_err_prefix(err, "port %u%s: ", port->number, port->use != SL_PORT_TCP ? " (UDP)" : "");
    if (change->n_failed == change->cap_failed) {
        change->cap_failed = change->cap_failed > 0 ? 2 * change->cap_failed : 4;
        change->failed = sl_realloc(change->failed, change->cap_failed * sizeof(*change->failed));
    }
    change->failed[change->n_failed++] = (struct sl_port_failure){port->number, port->use, *err};
}

static struct sl_port_change *append(const struct plan *p, uint16_t number, enum sl_port_use use)
{
    struct sl_ports_change *change = p->change;
    const struct sl_port *known = find(p->ports, number, use);
    struct sl_port_change *c;

    if (change->n == change->cap) {
        change->cap = change->cap > 0 ? 2 * change->cap : 8;
        change->at = sl_realloc(change->at, change->cap * sizeof(*change->at));
    }
    c = &change->at[change->n++];
    *c = (struct sl_port_change){
        .port = {.number = number, .use = use, .at = p->ports->bind_address}};
    if (known != NULL) {
        c->port.at = known->at; /* a worker more joins the others, whatever has been set since */
        c->n_before = known->n_open;
    }
    return c;
}

static void close_change(struct sl_port_change *c)
{
    sl_fds_clear(&c->fds);
    sl_fds_clear(&c->port.fds);
}

static struct sl_inherited_port *find_inherited(const struct sl_ports *ports, uint16_t number)
{
    for (size_t i = 0; i < ports->n_inherited; i++) {
        if (sl_addr_port(&ports->inherited[i].at) == number)
            return &ports->inherited[i];
    }
    return NULL;
}

static int open_sockets(const struct plan *p, struct sl_port_change *c, struct sl_err *err)
{
    const struct sl_inherited_port *inherited = find_inherited(p->ports, c->port.number);

    if (c->port.use == SL_PORT_QUIC)
        return bind_quic(c, find(p->ports, c->port.number, SL_PORT_QUIC), err);
    if (c->port.use == SL_PORT_TCP && c->n_before == 0 && inherited != NULL)
        return use_inherited(c, inherited, err);
    return bind_group(c, err);
}

/* Sockets for datagrams are not handed over, and free when whoever has them has ended. */
static bool is_for_later(const struct plan *p, const struct sl_port_change *c, int rc)
{
    return p->ports->has_former && c->port.use != SL_PORT_TCP && rc == SL_E_IN_USE;
}

static void open_more(struct plan *p, const struct sl_port_info *info, enum sl_port_use use,
                      unsigned n_after)
{
    struct sl_port_change *c = append(p, info->port, use);
    size_t n_more = sockets_of(use, n_after - c->n_before);
    struct sl_err err;
    int rc = check_neighbour(p, info, use, &err);
    bool is_later = false;

    c->n_after = n_after;
    if (rc == 0)
        rc = check_room(p, n_more, &err);
    if (rc == 0) {
        rc = open_sockets(p, c, &err);
        is_later = is_for_later(p, c, rc);
    }
    if (rc == 0) {
        p->n_sockets += n_more;
        return;
    }
    if (is_later)
        sl_log_info("has to wait until the former process has ended",
                    sl_f_int("port", c->port.number), sl_f_str("transport", "udp"));
    else
        note_failure(p->change, &c->port, &err);
    close_change(c);
    p->change->n--;
}

enum step { STEP_NEW, STEP_FEWER, STEP_MORE };

static void plan_port(struct plan *p, const struct sl_port_info *info, enum step step)
{
    for (unsigned use = SL_PORT_TCP; use <= SL_PORT_UDP; use++) {
        const struct sl_port *open = find(p->ports, info->port, use);
        unsigned n_before = open != NULL ? open->n_open : 0, n_after = workers_for(p, info, use);

        if (n_after > n_before && step == (n_before == 0 ? STEP_NEW : STEP_MORE))
            open_more(p, info, use, n_after);
        else if (n_after < n_before && step == STEP_FEWER)
            append(p, info->port, use)->n_after = n_after;
    }
}

void sl_ports_plan(struct sl_ports_change *out, const struct sl_ports *ports,
                   const struct sl_snapshot *snapshot, bool has_quic)
{
    struct plan p = {out, ports, has_quic, count_sockets(ports)};
    const struct sl_port_info *infos;
    size_t n = sl_snapshot_ports(snapshot, &infos);

    *out = (struct sl_ports_change){0};
    /* A socket that joins others gets visitors at once, who would be lost if the change were not
     * made: so the last step comes when all is well. */
    for (enum step step = STEP_NEW; step <= STEP_MORE && out->n_failed == 0; step++) {
        for (size_t i = 0; i < n; i++)
            plan_port(&p, &infos[i], step);
    }
    for (size_t i = 0; i < ports->n; i++) {
        const struct sl_port *port = &ports->at[i];

        if (port->n_open > 0 && sl_snapshot_port(snapshot, port->number) == NULL)
            append(&p, port->number, port->use)->n_after = 0;
    }
}

/* --- the change --- */

static void log_port(const char *what, const struct sl_port *port)
{
    sl_log_info(what, sl_f_int("port", port->number),
                sl_f_str("transport", port->use == SL_PORT_TCP ? "tcp" : "udp"));
}

static void drop(struct sl_ports *ports, struct sl_port *port)
{
    sl_fds_clear(&port->fds);
    memmove(port, port + 1, (size_t)(ports->at + ports->n - port - 1) * sizeof(*port));
    ports->n--;
}

static void commit_removed(struct sl_ports *ports, const struct sl_port_change *c)
{
    struct sl_port *port = find(ports, c->port.number, c->port.use);

    log_port("no longer listening", port);
    port->n_open = 0;
    if (port->use != SL_PORT_QUIC)
        drop(ports, port);
}

static void drop_inherited(struct sl_ports *ports, struct sl_inherited_port *port)
{
    sl_fds_clear(&port->fds);
    *port = ports->inherited[--ports->n_inherited];
}

static void commit_open(struct sl_ports *ports, struct sl_port *port, struct sl_port_change *c)
{
    struct sl_inherited_port *inherited = find_inherited(ports, c->port.number);

    if (c->n_before == 0)
        log_port("listening", &c->port);
    port->n_open = c->n_after;
    port->n_held += port->use == SL_PORT_QUIC ? c->n_after : 0;
    c->port.fds = (struct sl_fds){0}; /* the table's */
    if (port->use == SL_PORT_TCP && inherited != NULL)
        drop_inherited(ports, inherited);
}

void sl_ports_commit(struct sl_ports *ports, struct sl_ports_change *change)
{
    size_t n;

    for (size_t i = 0; i < change->n; i++) {
        if (change->at[i].n_after == 0)
            commit_removed(ports, &change->at[i]);
    }
    n = ports->n;
    ports->at = sl_realloc(ports->at, (n + change->n + 1) * sizeof(*ports->at));
    for (size_t i = 0; i < change->n; i++) {
        struct sl_port_change *c = &change->at[i];
        struct sl_port *port = find(ports, c->port.number, c->port.use);

        if (c->n_after > 0 && port == NULL) {
            port = &ports->at[n++];
            *port = c->port;
        }
        if (c->n_after > 0)
            commit_open(ports, port, c);
    }
    ports->n = n; /* until here find() sees the old ones only, which are in order */
    qsort(ports->at, n, sizeof(*ports->at), compare);
}

void sl_ports_deliver(struct sl_ports_change *change, unsigned worker, struct sl_proxy *proxy)
{
    static void (*const listen[])(struct sl_proxy *, int, uint16_t) = {
        sl_proxy_listen, sl_proxy_listen_quic, sl_proxy_listen_udp};
    static void (*const unlisten[])(struct sl_proxy *, uint16_t) = {
        sl_proxy_unlisten, sl_proxy_unlisten_quic, sl_proxy_unlisten_udp};

    for (size_t i = 0; i < change->n; i++) {
        struct sl_port_change *c = &change->at[i];

        if (c->n_after <= worker && worker < c->n_before)
            unlisten[c->port.use](proxy, c->port.number);
        for (size_t at = worker; worker < c->n_after && at < c->fds.n; at += c->n_after) {
            if (c->fds.at[at] >= 0)
                listen[c->port.use](proxy, c->fds.at[at], c->port.number);
            c->fds.at[at] = -1;
        }
    }
}

void sl_ports_change_clear(struct sl_ports_change *change)
{
    for (size_t i = 0; i < change->n; i++)
        close_change(&change->at[i]);
    sl_free(change->at);
    sl_free(change->failed);
    *change = (struct sl_ports_change){0};
}

/* --- sockets that were handed over --- */

static bool is_listening_tcp(int fd, struct sl_addr *at)
{
    int type = 0, listens = 0;
    socklen_t len = sizeof(int), at_len = sizeof(*at);

    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM &&
           getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) == 0 && listens != 0 &&
           getsockname(fd, &at->sa, &at_len) == 0 &&
           (at->sa.sa_family == AF_INET || at->sa.sa_family == AF_INET6);
}

int sl_ports_inherit(struct sl_ports *ports, int fd)
{
    struct sl_inherited_port *port;
    struct sl_addr at = {0};

    if (!is_listening_tcp(fd, &at)) {
        close(fd);
        return SL_E_PROTOCOL;
    }
    port = find_inherited(ports, sl_addr_port(&at));
    if (port == NULL) {
        size_t n = ++ports->n_inherited;

        ports->inherited = sl_realloc(ports->inherited, n * sizeof(*port));
        port = &ports->inherited[n - 1];
        *port = (struct sl_inherited_port){.at = at};
    }
    sl_fds_add(&port->fds, fd);
    return 0;
}

void sl_ports_disinherit(struct sl_ports *ports)
{
    while (ports->n_inherited > 0)
        drop_inherited(ports, &ports->inherited[0]);
    sl_free(ports->inherited);
    ports->inherited = NULL;
}

/* --- the end --- */

void sl_ports_released(struct sl_ports *ports, uint16_t number)
{
    struct sl_port *port = find(ports, number, SL_PORT_QUIC);
    struct sl_port closed;

    sl_assert(port != NULL && port->n_held > 0);
    if (--port->n_held > 0 || port->n_open > 0)
        return;
    closed = *port;
    drop(ports, port);
    log_port("closed", &closed); /* which it is when somebody reads this */
}

void sl_ports_clear(struct sl_ports *ports)
{
    for (size_t i = 0; i < ports->n; i++)
        sl_fds_clear(&ports->at[i].fds);
    sl_free(ports->at);
    sl_ports_disinherit(ports);
}
