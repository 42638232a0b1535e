#include "route/index.h"

#include <stdlib.h>
#include "route/match.h"

enum { N_PORTS = 65536, WIDE_GROUPS = 64, WIDE = 0 };

/* --- ports: what they need and which group they belong to --- */

/* What changes at a port as one walks up through all ports: routes that begin, less routes that
 * ended just before. */
struct change {
    int32_t n_tcp, n_udp, n_tls, n_plain, n_raw, n_http, n_passthrough;
    int32_t n_listens[3]; /* by enum sl_port_use */
    int32_t n_single;
    bool is_edge; /* a range begins here or ended just before */
};

/* Tunnels belong to one worker, which has to accept what goes into them. */
static bool needs_first_worker(const struct sl_route *r)
{
    for (size_t i = 0; i < r->n_targets && !r->is_tunnelled; i++) {
        if (r->targets[i].tunnel.len > 0)
            return true;
    }
    return false;
}

static void add_to(struct change *c, const struct sl_route *r, int by)
{
    bool is_plain = r->tls == SL_TLS_NONE;

    c->is_edge = true;
    c->n_tcp += r->transport & SL_TRANSPORT_TCP ? by : 0;
    c->n_udp += r->transport & SL_TRANSPORT_UDP ? by : 0;
    c->n_tls += is_plain ? 0 : by;
    c->n_plain += is_plain ? by : 0;
    c->n_passthrough += r->tls == SL_TLS_PASSTHROUGH ? by : 0;
    c->n_raw += is_plain && r->protocol == SL_PROTOCOL_TCP ? by : 0;
    c->n_http +=
        is_plain && r->protocol != SL_PROTOCOL_TCP && r->transport & SL_TRANSPORT_TCP ? by : 0;
    for (unsigned use = 0; use < SL_COUNT(c->n_listens); use++)
        c->n_listens[use] += sl_route_has_use(r, use) ? by : 0;
    c->n_single += needs_first_worker(r) ? by : 0;
}

static struct change *find_changes(struct sl_route *const *routes, size_t n)
{
    struct change *changes = sl_zalloc((N_PORTS + 1) * sizeof(*changes));

    for (size_t i = 0; i < n; i++) {
        const struct sl_route_private *priv = routes[i]->priv;

        for (size_t k = 0; k < priv->n_ports; k++) {
            add_to(&changes[priv->ports[k].from], routes[i], 1);
            add_to(&changes[priv->ports[k].to + 1], routes[i], -1);
        }
    }
    return changes;
}

static void sum_up(struct change *sum, const struct change *c)
{
    sum->n_tcp += c->n_tcp;
    sum->n_udp += c->n_udp;
    sum->n_tls += c->n_tls;
    sum->n_plain += c->n_plain;
    sum->n_raw += c->n_raw;
    sum->n_http += c->n_http;
    sum->n_passthrough += c->n_passthrough;
    for (size_t use = 0; use < SL_COUNT(c->n_listens); use++)
        sum->n_listens[use] += c->n_listens[use];
    sum->n_single += c->n_single;
}

static enum sl_transport transports(bool tcp, bool udp)
{
    return (enum sl_transport)((tcp ? SL_TRANSPORT_TCP : 0u) | (udp ? SL_TRANSPORT_UDP : 0u));
}

static struct sl_port_info make_info(unsigned port, const struct change *sum)
{
    bool has_http3 = sum->n_listens[SL_PORT_QUIC] > 0, has_udp = sum->n_listens[SL_PORT_UDP] > 0;

    return (struct sl_port_info){
        .port = (uint16_t)port,
        .transport = transports(sum->n_tcp > 0, sum->n_udp > 0),
        .listens = transports(sum->n_listens[SL_PORT_TCP] > 0, has_http3 || has_udp),
        .has_http3 = has_http3,
        .has_udp = has_udp,
        .is_single = sum->n_single > 0,
        .has_tls = sum->n_tls > 0,
        .has_plain = sum->n_plain > 0,
        .has_raw = sum->n_raw > 0,
        .has_http = sum->n_http > 0,
        .has_passthrough = sum->n_passthrough > 0,
    };
}

/* Numbers the groups in the order of their ports, so that those of a range are consecutive. */
static void build_ports(struct sl_index *index, struct sl_route *const *routes, size_t n)
{
    struct change *changes = find_changes(routes, n), sum = {0};
    size_t cap = 0;

    index->group_of = sl_zalloc(N_PORTS * sizeof(*index->group_of));
    index->n_groups = 1;
    for (unsigned port = 1; port < N_PORTS; port++) {
        sum_up(&sum, &changes[port]);
        if (sum.n_tcp + sum.n_udp == 0)
            continue;
        if (changes[port].is_edge)
            index->n_groups++;
        index->group_of[port] = (uint16_t)(index->n_groups - 1);
        if (index->n_ports == cap) {
            cap = cap > 0 ? 2 * cap : 8;
            index->ports = sl_realloc(index->ports, cap * sizeof(*index->ports));
        }
        index->ports[index->n_ports++] = make_info(port, &sum);
    }
    index->groups = sl_zalloc(index->n_groups * sizeof(*index->groups));
    sl_free(changes);
}

static size_t groups_between(const struct sl_index *index, struct sl_port_range range)
{
    return 1u + index->group_of[range.to] - index->group_of[range.from];
}

static size_t count_groups(const struct sl_index *index, const struct sl_route *r)
{
    size_t n = 0;

    for (size_t i = 0; i < r->priv->n_ports; i++)
        n += groups_between(index, r->priv->ports[i]);
    return n;
}

/* --- the order of evaluation --- */

struct entry {
    struct sl_route *route;
    const struct sl_domain *domain;
    int priority;
    unsigned path, domain_specificity, n_headers, place;
    bool has_client_ips;
};

static int by_number(long long a, long long b)
{
    return (a > b) - (a < b);
}

static int in_order(const void *va, const void *vb)
{
    const struct entry *a = va, *b = vb;
    int c;

    if ((c = by_number(b->priority, a->priority)) != 0 || (c = by_number(b->path, a->path)) != 0 ||
        (c = by_number(b->domain_specificity, a->domain_specificity)) != 0 ||
        (c = by_number(b->has_client_ips, a->has_client_ips)) != 0 ||
        (c = by_number(b->n_headers, a->n_headers)) != 0)
        return c;
    return by_number(a->place, b->place);
}

static struct entry make_entry(struct sl_route *r, const struct sl_domain *domain, size_t place)
{
    return (struct entry){
        .route = r,
        .domain = domain,
        .priority = r->priv->priority,
        .path = sl_path_specificity(r->priv->path),
        .domain_specificity = domain != NULL ? domain->specificity : 0,
        .n_headers = (unsigned)r->priv->n_headers,
        .place = (unsigned)place,
        .has_client_ips = r->priv->has_client_ips,
    };
}

static struct entry *make_entries(struct sl_route *const *routes, size_t n, size_t *n_entries)
{
    struct entry *entries;
    size_t k = 0;

    *n_entries = 0;
    for (size_t i = 0; i < n; i++)
        *n_entries += SL_MAX(routes[i]->priv->n_domains, (size_t)1);
    entries = sl_alloc(*n_entries * sizeof(*entries));
    for (size_t i = 0; i < n; i++) {
        const struct sl_route_private *priv = routes[i]->priv;

        if (priv->n_domains == 0)
            entries[k++] = make_entry(routes[i], NULL, i);
        for (size_t d = 0; d < priv->n_domains; d++)
            entries[k++] = make_entry(routes[i], &priv->domains[d], i);
    }
    qsort(entries, *n_entries, sizeof(*entries), in_order);
    return entries;
}

/* --- the tables --- */

/* Puts the candidate in front of its list: entries come last in order first. */
static void enter(struct sl_port_group *group, struct sl_candidate *c)
{
    const struct sl_candidate **head = &group->nameless;

    if (c->domain != NULL && c->domain->kind == SL_DOMAIN_EXACT)
        head = (const struct sl_candidate **)sl_map_at(&group->exact, c->domain->key);
    else if (c->domain != NULL && c->domain->kind == SL_DOMAIN_SUFFIX)
        head = (const struct sl_candidate **)sl_map_at(&group->suffixes, c->domain->key);
    else if (c->domain != NULL)
        head = &group->globs;
    c->next = *head;
    *head = c;
    if (c->domain != NULL && c->domain->kind == SL_DOMAIN_SUFFIX) {
        group->suffix_rank = c->rank;
        group->suffix_lengths |= 1ull << c->domain->key.len % 64;
    }
}

static struct sl_candidate make_candidate(const struct entry *e, size_t rank)
{
    const struct sl_route_private *priv = e->route->priv;

    return (struct sl_candidate){
        .route = e->route,
        .domain = e->domain,
        .rank = (uint32_t)rank,
        .specificity = e->domain_specificity,
        .transport = e->route->transport,
        .has_tls = e->route->tls != SL_TLS_NONE,
        .is_tunnelled = e->route->is_tunnelled,
        .is_plain_raw = e->route->protocol == SL_PROTOCOL_TCP && e->route->tls == SL_TLS_NONE,
        .has_criteria = e->route->has_path || priv->has_client_ips || priv->n_headers > 0,
    };
}

/* Enters the route in each of its groups; candidates are taken from `*free` on. */
static void enter_everywhere(struct sl_index *index, const struct entry *e, size_t rank,
                             struct sl_candidate **free)
{
    const struct sl_route_private *priv = e->route->priv;
    const struct sl_candidate c = make_candidate(e, rank);

    if (count_groups(index, e->route) > WIDE_GROUPS) {
        index->has_wide = true;
        **free = c;
        enter(&index->groups[WIDE], (*free)++);
        return;
    }
    for (size_t i = 0; i < priv->n_ports; i++) {
        size_t first = index->group_of[priv->ports[i].from];

        for (size_t g = first; g <= index->group_of[priv->ports[i].to]; g++) {
            **free = c;
            enter(&index->groups[g], (*free)++);
        }
    }
}

static void build_tables(struct sl_index *index, struct sl_route *const *routes, size_t n)
{
    size_t n_entries, n_candidates = 0;
    struct entry *entries = make_entries(routes, n, &n_entries);
    struct sl_candidate *free;

    for (size_t i = 0; i < n_entries; i++) {
        size_t n_groups = count_groups(index, entries[i].route);

        n_candidates += n_groups > WIDE_GROUPS ? 1 : n_groups;
    }
    free = index->candidates = sl_alloc(n_candidates * sizeof(*index->candidates));
    for (size_t i = n_entries; i-- > 0;)
        enter_everywhere(index, &entries[i], i, &free);
    sl_assert(free == index->candidates + n_candidates);
    sl_free(entries);
}

void sl_index_build(struct sl_index *index, struct sl_route *const *routes, size_t n)
{
    *index = (struct sl_index){0};
    build_ports(index, routes, n);
    build_tables(index, routes, n);
}

void sl_index_clear(struct sl_index *index)
{
    for (size_t i = 0; i < index->n_groups; i++) {
        sl_map_clear(&index->groups[i].exact);
        sl_map_clear(&index->groups[i].suffixes);
    }
    sl_free(index->group_of);
    sl_free(index->groups);
    sl_free(index->candidates);
    sl_free(index->ports);
    *index = (struct sl_index){0};
}
