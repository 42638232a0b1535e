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

    return a->number != b->number ? a->number - b->number : a->is_udp - b->is_udp;
}

static struct sl_port *find(const struct sl_ports *ports, uint16_t number, bool is_udp)
{
    struct sl_port key = {.number = number, .is_udp = is_udp};

    return ports->n > 0 ? bsearch(&key, ports->at, ports->n, sizeof(key), compare) : NULL;
}

static void close_all(int *fds, unsigned n)
{
    for (unsigned i = 0; fds != NULL && i < n; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
    sl_free(fds);
}

static int *no_fds(unsigned n)
{
    int *fds = sl_alloc(n * sizeof(*fds));

    for (unsigned i = 0; i < n; i++)
        fds[i] = -1;
    return fds;
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
        rc = bind_at(fd, &at, port->is_udp, reuseport, err);
        if (rc == 0 || rc == SL_E_IN_USE || rc == SL_E_DENIED)
            return rc;
    }
    return rc;
}

/* SO_REUSEPORT would let a second sluice share the port in silence: first try whether the port is
 * free without it. */
static int probe(const struct sl_port *port, struct sl_err *err)
{
    int fd, rc = bind_any(&fd, port, false, err);

    if (rc == 0)
        close(fd);
    return rc;
}

static int bind_group(const struct sl_port *port, int *fds, unsigned n, struct sl_err *err)
{
    int rc = probe(port, err);

    for (unsigned i = 0; i < n && rc == 0; i++)
        rc = bind_any(&fds[i], port, true, err);
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

static int duplicate(const int *from, int *to, unsigned n, struct sl_err *err)
{
    for (unsigned i = 0; i < n; i++) {
        if ((to[i] = fcntl(from[i], F_DUPFD_CLOEXEC, 0)) < 0)
            return sl_err_set(err, SL_E_LIMIT, "no file descriptor is left");
    }
    return 0;
}

static int bind_udp(struct sl_new_port *new, unsigned n_workers, struct sl_err *err)
{
    int rc;

    if (!new->is_taken_up) {
        new->port.fds = no_fds(n_workers);
        if ((rc = bind_group(&new->port, new->port.fds, n_workers, err)) < 0)
            return rc;
        steer(new->port.fds[0], n_workers);
    }
    return duplicate(new->port.fds, new->fds, n_workers, err);
}

/* --- planning --- */

static bool is_wanted(const struct sl_port_info *info, bool is_udp, bool has_quic)
{
    return is_udp ? has_quic && info->has_http3 : info->transport & SL_TRANSPORT_TCP;
}

static int add(struct sl_ports_change *change, const struct sl_ports *ports, uint16_t number,
               bool is_udp, struct sl_err *err)
{
    const struct sl_port *open = find(ports, number, is_udp);
    struct sl_new_port *new;
    int rc;

    if (open != NULL && !open->is_closing)
        return 0;
    new = &change->added[change->n_added++];
    new->port = open != NULL ? *open : (struct sl_port){.number = number, .is_udp = is_udp};
    new->is_taken_up = open != NULL;
    new->fds = no_fds(ports->n_workers);
    rc = is_udp ? bind_udp(new, ports->n_workers, err)
                : bind_group(&new->port, new->fds, ports->n_workers, err);
    return rc < 0 ? sl_err_prefix(err, "port %u%s: ", number, is_udp ? " (UDP)" : "") : 0;
}

static void find_removed(struct sl_ports_change *change, const struct sl_ports *ports,
                         const struct sl_snapshot *snapshot, bool has_quic)
{
    change->removed = sl_alloc((ports->n + 1) * sizeof(*change->removed));
    for (size_t i = 0; i < ports->n; i++) {
        const struct sl_port *port = &ports->at[i];
        const struct sl_port_info *info = sl_snapshot_port(snapshot, port->number);

        if (!port->is_closing && (info == NULL || !is_wanted(info, port->is_udp, has_quic)))
            change->removed[change->n_removed++] = *port;
    }
}

int sl_ports_plan(struct sl_ports_change *out, const struct sl_ports *ports,
                  const struct sl_snapshot *snapshot, bool has_quic, struct sl_err *err)
{
    const struct sl_port_info *infos;
    size_t n = sl_snapshot_ports(snapshot, &infos);

    *out = (struct sl_ports_change){.n_workers = ports->n_workers};
    out->added = sl_zalloc((2 * n + 1) * sizeof(*out->added));
    for (size_t i = 0; i < 2 * n; i++) {
        const struct sl_port_info *info = &infos[i / 2];
        bool is_udp = i % 2 == 1;
        int rc = is_wanted(info, is_udp, has_quic) ? add(out, ports, info->port, is_udp, err) : 0;

        if (rc < 0)
            return rc;
    }
    find_removed(out, ports, snapshot, has_quic);
    return 0;
}

/* --- the change --- */

static void log_port(const char *what, const struct sl_port *port)
{
    sl_log_info(what, sl_f_int("port", port->number),
                sl_f_str("transport", port->is_udp ? "udp" : "tcp"));
}

static void drop(struct sl_ports *ports, struct sl_port *port)
{
    close_all(port->fds, ports->n_workers);
    memmove(port, port + 1, (size_t)(ports->at + ports->n - port - 1) * sizeof(*port));
    ports->n--;
}

static void commit_removed(struct sl_ports *ports, const struct sl_port *removed)
{
    struct sl_port *port = find(ports, removed->number, removed->is_udp);

    log_port("no longer listening", port);
    port->is_closing = true;
    if (!port->is_udp)
        drop(ports, port);
}

void sl_ports_commit(struct sl_ports *ports, struct sl_ports_change *change)
{
    size_t n;

    for (size_t i = 0; i < change->n_removed; i++)
        commit_removed(ports, &change->removed[i]);
    n = ports->n;
    ports->at = sl_realloc(ports->at, (n + change->n_added + 1) * sizeof(*ports->at));
    for (size_t i = 0; i < change->n_added; i++) {
        struct sl_new_port *new = &change->added[i];
        struct sl_port *port =
            new->is_taken_up ? find(ports, new->port.number, true) : &ports->at[n++];

        if (!new->is_taken_up)
            *port = new->port;
        new->port.fds = NULL; /* the table's */
        port->n_held += port->is_udp ? ports->n_workers : 0;
        port->is_closing = false;
        log_port("listening", port);
    }
    ports->n = n; /* until here find() sees the old ones only, which are in order */
    qsort(ports->at, n, sizeof(*ports->at), compare);
}

void sl_ports_deliver(struct sl_ports_change *change, unsigned worker, struct sl_proxy *proxy)
{
    for (size_t i = 0; i < change->n_removed; i++) {
        if (change->removed[i].is_udp)
            sl_proxy_unlisten_quic(proxy, change->removed[i].number);
        else
            sl_proxy_unlisten(proxy, change->removed[i].number);
    }
    for (size_t i = 0; i < change->n_added; i++) {
        struct sl_new_port *new = &change->added[i];

        if (new->port.is_udp)
            sl_proxy_listen_quic(proxy, new->fds[worker], new->port.number);
        else
            sl_proxy_listen(proxy, new->fds[worker], new->port.number);
        new->fds[worker] = -1;
    }
}

void sl_ports_change_clear(struct sl_ports_change *change)
{
    for (size_t i = 0; i < change->n_added; i++) {
        if (!change->added[i].is_taken_up)
            close_all(change->added[i].port.fds, change->n_workers);
        close_all(change->added[i].fds, change->n_workers);
    }
    sl_free(change->added);
    sl_free(change->removed);
}

/* --- the end --- */

void sl_ports_released(struct sl_ports *ports, uint16_t number)
{
    struct sl_port *port = find(ports, number, true);
    struct sl_port closed;

    sl_assert(port != NULL && port->n_held > 0);
    if (--port->n_held > 0 || !port->is_closing)
        return;
    closed = *port;
    drop(ports, port);
    log_port("closed", &closed); /* which it is when somebody reads this */
}

void sl_ports_clear(struct sl_ports *ports)
{
    for (size_t i = 0; i < ports->n; i++)
        close_all(ports->at[i].fds, ports->n_workers);
    sl_free(ports->at);
}
