#include "route/snapshot.h"

#include <stdatomic.h>
#include "route/store.h"

struct sl_snapshot_builder {
    struct sl_snapshot *previous;
    struct sl_snapshot *next; /* without its tables */
    size_t cap;
};

/* --- building --- */

struct sl_snapshot_builder *sl_snapshot_begin(struct sl_snapshot *previous)
{
    struct sl_snapshot_builder *b = sl_zalloc(sizeof(*b));

    b->previous = previous != NULL ? sl_snapshot_ref(previous) : NULL;
    b->next = sl_zalloc(sizeof(*b->next));
    atomic_init(&b->next->n_refs, 1);
    return b;
}

/* Takes the reference. */
static void append(struct sl_snapshot_builder *b, struct sl_route *r)
{
    struct sl_snapshot *s = b->next;

    if (s->n_routes == b->cap) {
        b->cap = b->cap > 0 ? 2 * b->cap : 16;
        s->routes = sl_realloc(s->routes, b->cap * sizeof(*s->routes));
    }
    s->routes[s->n_routes++] = r;
    if ((r->tls == SL_TLS_TERMINATE || r->tls == SL_TLS_REENCRYPT) && r->tls_data == NULL)
        s->lacks_certificates = true;
}

static struct sl_str digest_key(const uint8_t digest[32])
{
    return sl_str((const char *)digest, 32);
}

bool sl_snapshot_add_known(struct sl_snapshot_builder *b, const uint8_t digest[32])
{
    struct sl_route *r =
        b->previous != NULL ? sl_map_get(&b->previous->by_digest, digest_key(digest)) : NULL;

    if (r == NULL)
        return false;
    append(b, sl_route_ref(r));
    return true;
}

int sl_snapshot_add(struct sl_snapshot_builder *b, const struct sl_route_spec *spec,
                    struct sl_err *err)
{
    struct sl_route *r;
    int rc = sl_route_compile(&r, spec, err);

    if (rc == 0)
        append(b, r);
    return rc;
}

int sl_snapshot_set_policy(struct sl_snapshot_builder *b, const struct sl_policy_spec *spec,
                           struct sl_err *err)
{
    struct sl_policy *policy = &b->next->policy;
    struct sl_access access = {0};
    int rc;

    if ((rc = sl_ip_set_init(&access.allow, spec->allow, spec->n_allow, "allow", err)) < 0 ||
        (rc = sl_ip_set_init(&access.block, spec->block, spec->n_block, "block", err)) < 0) {
        sl_ip_set_clear(&access.allow);
        return rc;
    }
    sl_ip_set_clear(&policy->access.allow);
    sl_ip_set_clear(&policy->access.block);
    policy->access = access;
    policy->max_connections_per_ip = spec->max_connections_per_ip;
    policy->connections_per_minute = spec->connections_per_minute;
    return 0;
}

static void name_routes(struct sl_snapshot *s)
{
    static const uint8_t no_digest[32];

    sl_map_reserve(&s->by_digest, s->n_routes);
    sl_map_reserve(&s->by_name, s->n_routes);
    for (size_t i = s->n_routes; i-- > 0;) { /* backwards: the first one stays */
        struct sl_route *r = s->routes[i];

        if (memcmp(r->priv->digest, no_digest, sizeof(no_digest)) != 0)
            *sl_map_at(&s->by_digest, digest_key(r->priv->digest)) = r;
        if (r->name.len > 0)
            *sl_map_at(&s->by_name, r->name) = r;
    }
}

struct sl_snapshot *sl_snapshot_finish(struct sl_snapshot_builder *b)
{
    struct sl_snapshot *s = b->next;

    name_routes(s);
    sl_index_build(&s->index, s->routes, s->n_routes);
    b->next = NULL;
    sl_snapshot_abandon(b);
    return s;
}

struct sl_snapshot *sl_snapshot_without(const struct sl_snapshot *s, const bool *is_left_out)
{
    struct sl_snapshot_builder *b = sl_snapshot_begin(NULL);
    struct sl_policy *policy = &b->next->policy;

    for (size_t i = 0; i < s->n_routes; i++) {
        if (!is_left_out[i])
            append(b, sl_route_ref(s->routes[i]));
    }
    *policy = s->policy;
    sl_ip_set_copy(&policy->access.allow, &s->policy.access.allow);
    sl_ip_set_copy(&policy->access.block, &s->policy.access.block);
    return sl_snapshot_finish(b);
}

void sl_snapshot_abandon(struct sl_snapshot_builder *b)
{
    sl_snapshot_unref(b->next);
    sl_snapshot_unref(b->previous);
    sl_free(b);
}

/* --- references --- */

struct sl_snapshot *sl_snapshot_ref(struct sl_snapshot *s)
{
    atomic_fetch_add_explicit(&s->n_refs, 1, memory_order_relaxed);
    return s;
}

static void snapshot_free(struct sl_snapshot *s)
{
    sl_map_clear(&s->by_digest);
    sl_map_clear(&s->by_name);
    sl_index_clear(&s->index);
    for (size_t i = 0; i < s->n_routes; i++)
        sl_route_unref(s->routes[i]);
    sl_free(s->routes);
    sl_ip_set_clear(&s->policy.access.allow);
    sl_ip_set_clear(&s->policy.access.block);
    sl_free(s);
}

void sl_snapshot_unref(struct sl_snapshot *s)
{
    if (s != NULL && atomic_fetch_sub_explicit(&s->n_refs, 1, memory_order_acq_rel) == 1)
        snapshot_free(s);
}

/* --- reading --- */

const struct sl_port_info *sl_snapshot_port(const struct sl_snapshot *s, uint16_t port)
{
    size_t low = 0, high = s->index.n_ports;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (s->index.ports[middle].port == port)
            return &s->index.ports[middle];
        if (s->index.ports[middle].port < port)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

size_t sl_snapshot_ports(const struct sl_snapshot *s, const struct sl_port_info **out)
{
    *out = s->index.ports;
    return s->index.n_ports;
}

size_t sl_snapshot_routes(const struct sl_snapshot *s, struct sl_route *const **out)
{
    *out = s->routes;
    return s->n_routes;
}

struct sl_route *sl_snapshot_by_name(const struct sl_snapshot *s, struct sl_str name)
{
    return sl_map_get(&s->by_name, name);
}

const struct sl_policy *sl_snapshot_policy(const struct sl_snapshot *s)
{
    return &s->policy;
}

bool sl_snapshot_lacks_certificates(const struct sl_snapshot *s)
{
    return s->lacks_certificates;
}
