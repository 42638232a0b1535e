#include "proxy/adhoc.h"

#include "route/target.h"

static bool is_same(const struct sl_target *t, struct sl_str host, uint16_t port, bool tls,
                    bool tls_verify)
{
    return t->port == port && t->tls == tls && t->tls_verify == tls_verify &&
           sl_str_eq(t->host, host);
}

static void drop(struct sl_target *t)
{
    sl_target_state_put(t->state);
    sl_free((char *)t->host.p);
    *t = (struct sl_target){0};
}

/* A free entry, or the one that was used longest ago. */
static unsigned make_room(struct sl_adhoc *a)
{
    unsigned oldest = 0;

    if (a->n < SL_ADHOC_MAX)
        return a->n++;
    for (unsigned i = 1; i < a->n; i++) {
        if (a->entries[i].used < a->entries[oldest].used)
            oldest = i;
    }
    drop(&a->entries[oldest].target);
    return oldest;
}

static unsigned add(struct sl_adhoc *a, struct sl_str host, uint16_t port, bool tls,
                    bool tls_verify)
{
    unsigned i = make_room(a);
    struct sl_target *t = &a->entries[i].target;

    t->host = sl_str(sl_strndup(host.p, host.len), host.len);
    t->port = port;
    t->tls = tls;
    t->tls_verify = tls_verify;
    t->state = sl_target_state_get(t);
    t->id = t->state->id;
    return i;
}

uint32_t sl_adhoc_id(struct sl_adhoc *a, struct sl_str host, uint16_t port, bool tls,
                     bool tls_verify)
{
    unsigned i = 0;

    while (i < a->n && !is_same(&a->entries[i].target, host, port, tls, tls_verify))
        i++;
    if (i == a->n)
        i = add(a, host, port, tls, tls_verify);
    a->entries[i].used = ++a->clock;
    return a->entries[i].target.id;
}

void sl_adhoc_clear(struct sl_adhoc *a)
{
    for (unsigned i = 0; i < a->n; i++)
        drop(&a->entries[i].target);
    a->n = 0;
}
