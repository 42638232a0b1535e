#include "net/dns.h"

#include "base/log.h"
#include "base/map.h"
#include "net/dns_channel.h"

enum {
    MAX_NAME = 254, /* with a final dot */
    MAX_ENTRIES = 4096,
    MAX_ASKING = 512,
    MIN_TTL_MS = 1000,
    MAX_TTL_MS = 300 * 1000,
    FAILURE_TTL_MS = 2000,
    /* how long the last good answer stands in for one that cannot be had */
    STALE_MS = 24 * 3600 * 1000,
};

/* What is known of a name. Stays while queries wait for it; else the one that was not used for
 * longest gives way. */
struct entry {
    struct sl_dns *dns;
    struct sl_link used; /* in dns.used, the latest last */
    struct sl_list waiting;
    unsigned n_queries; /* waiting or ready */
    bool is_asking;
    bool is_known; /* `answer` holds one */
    bool is_stale; /* … which is old, because the refresh failed */
    uint64_t fresh_until_ms, good_until_ms;
    struct sl_dns_answer answer;
    char name[];
};

struct sl_dns_query {
    struct sl_link link; /* in entry.waiting, then in dns.ready */
    struct entry *entry;
    sl_on_resolved *fn;
    void *user;
};

struct sl_dns {
    struct sl_loop *loop;
    struct sl_dns_channel *channel;
    uint32_t min_ttl_ms, max_ttl_ms, failure_ttl_ms;
    struct sl_map entries; /* by name */
    struct sl_list used;
    unsigned n_asking;
    struct sl_list ready; /* queries whose answer is there */
    struct sl_task_link deliver;
    bool is_freed;
};

/* --- the table of names --- */

static void drop_entry(struct entry *e)
{
    sl_map_remove(&e->dns->entries, sl_str_c(e->name));
    sl_link_remove(&e->used);
    sl_free(e);
}

/* Makes room for one more; false when every name is being waited for. */
static bool make_room(struct sl_dns *dns)
{
    if (dns->entries.n < MAX_ENTRIES)
        return true;
    sl_list_each(&dns->used, it)
    {
        struct entry *e = sl_container_of(it, struct entry, used);

        if (!e->is_asking && e->n_queries == 0) {
            drop_entry(e);
            return true;
        }
    }
    return false;
}

static struct entry *add_entry(struct sl_dns *dns, struct sl_str name)
{
    struct entry *e;

    if (!make_room(dns))
        return NULL;
    e = sl_zalloc(sizeof(*e) + name.len + 1);
    e->dns = dns;
    memcpy(e->name, name.p, name.len);
    sl_list_init(&e->waiting);
    *sl_map_at(&dns->entries, sl_str(e->name, name.len)) = e;
    return e;
}

/* The entry of a name, made when it is new, and now the latest that was used. NULL: no room. */
static struct entry *use_entry(struct sl_dns *dns, struct sl_str name)
{
    struct entry *e = sl_map_get(&dns->entries, name);

    if (e == NULL && (e = add_entry(dns, name)) == NULL)
        return NULL;
    sl_link_remove(&e->used);
    sl_list_append(&dns->used, &e->used);
    return e;
}

/* --- answers --- */

static void deliver(void *user)
{
    struct sl_dns *dns = user;
    struct sl_link *it;

    while ((it = sl_list_pop(&dns->ready)) != NULL) {
        struct sl_dns_query q = *sl_container_of(it, struct sl_dns_query, link);
        struct sl_dns_answer answer;

        sl_free(sl_container_of(it, struct sl_dns_query, link));
        sl_dns_answer_copy(&answer, &q.entry->answer);
        q.entry->n_queries--;
        q.fn(q.user, &answer);
    }
}

/* The last good answer is better than none, for a day. */
static bool keep_stale(struct entry *e, int code, uint64_t now)
{
    if (code == SL_E_NOT_FOUND || !e->is_known || e->answer.code != 0 || now >= e->good_until_ms)
        return false;
    if (!e->is_stale)
        sl_log_warn("cannot refresh a name, going on with its last addresses",
                    sl_f_str("name", e->name), sl_f_str("error", sl_error_text(code)));
    e->is_stale = true;
    return true;
}

static void store(struct entry *e, const struct sl_dns_answer *answer, uint32_t ttl_s)
{
    struct sl_dns *dns = e->dns;
    uint64_t now = sl_loop_now_ms(dns->loop), ttl = dns->failure_ttl_ms;

    if (answer->code == 0) {
        ttl = SL_MIN(SL_MAX((uint64_t)ttl_s * 1000, dns->min_ttl_ms), dns->max_ttl_ms);
        e->good_until_ms = now + ttl + STALE_MS;
    }
    e->fresh_until_ms = now + ttl;
    if (answer->code != 0 && keep_stale(e, answer->code, now))
        return;
    sl_dns_answer_copy(&e->answer, answer);
    e->is_known = true;
    e->is_stale = false;
}

static void on_answer(void *user, const struct sl_dns_answer *answer, uint32_t ttl_s)
{
    struct entry *e = user;
    struct sl_dns *dns = e->dns;
    struct sl_link *it;

    e->is_asking = false;
    dns->n_asking--;
    if (dns->is_freed)
        return;
    store(e, answer, ttl_s);
    if (sl_list_is_empty(&e->waiting))
        return;
    while ((it = sl_list_pop(&e->waiting)) != NULL)
        sl_list_append(&dns->ready, it);
    sl_loop_soon(dns->loop, &dns->deliver, deliver, dns);
}

static void ask(struct entry *e)
{
    e->is_asking = true;
    e->dns->n_asking++;
    sl_dns_channel_ask(e->dns->channel, e->name, on_answer, e);
}

/* --- the interface --- */

int sl_dns_new(struct sl_dns **out, struct sl_loop *loop)
{
    return sl_dns_new_with(out, loop, &(struct sl_dns_opts){0});
}

int sl_dns_new_with(struct sl_dns **out, struct sl_loop *loop, const struct sl_dns_opts *opts)
{
    struct sl_dns *dns = sl_zalloc(sizeof(*dns));
    int rc;

    dns->loop = loop;
    dns->min_ttl_ms = opts->min_ttl_ms > 0 ? opts->min_ttl_ms : MIN_TTL_MS;
    dns->max_ttl_ms = opts->max_ttl_ms > 0 ? opts->max_ttl_ms : MAX_TTL_MS;
    dns->failure_ttl_ms = opts->failure_ttl_ms > 0 ? opts->failure_ttl_ms : FAILURE_TTL_MS;
    sl_list_init(&dns->used);
    sl_list_init(&dns->ready);
    if ((rc = sl_dns_channel_new(&dns->channel, loop, opts)) < 0) {
        sl_dns_free(dns);
        return rc;
    }
    *out = dns;
    return 0;
}

static void free_queries(struct sl_list *list)
{
    struct sl_link *it;

    while ((it = sl_list_pop(list)) != NULL)
        sl_free(sl_container_of(it, struct sl_dns_query, link));
}

void sl_dns_free(struct sl_dns *dns)
{
    struct sl_link *it;

    if (dns == NULL)
        return;
    dns->is_freed = true;
    sl_dns_channel_free(dns->channel);
    sl_loop_unsoon(&dns->deliver);
    free_queries(&dns->ready);
    while ((it = sl_list_first(&dns->used)) != NULL) {
        struct entry *e = sl_container_of(it, struct entry, used);

        free_queries(&e->waiting);
        drop_entry(e);
    }
    sl_map_clear(&dns->entries);
    sl_free(dns);
}

static struct sl_dns_query *wait_for(struct entry *e, sl_on_resolved *fn, void *user)
{
    struct sl_dns_query *q = sl_zalloc(sizeof(*q));

    q->entry = e;
    q->fn = fn;
    q->user = user;
    e->n_queries++;
    sl_list_append(&e->waiting, &q->link);
    return q;
}

/* Lower case, without a NUL, of a length that DNS knows. */
static bool normalize(struct sl_str name, char out[MAX_NAME + 1], struct sl_str *normal)
{
    if (name.len == 0 || name.len > MAX_NAME || memchr(name.p, '\0', name.len) != NULL)
        return false;
    for (size_t i = 0; i < name.len; i++)
        out[i] = (char)sl_lower((unsigned char)name.p[i]);
    out[name.len] = '\0';
    *normal = sl_str(out, name.len);
    return true;
}

static bool answer_literal(struct sl_str name, struct sl_dns_answer *now)
{
    if (sl_addr_parse(&now->addrs[0], name, 0) < 0)
        return false;
    now->code = 0;
    now->n = 1;
    return true;
}

static void refuse(struct sl_dns_answer *now, int code)
{
    now->n = 0;
    now->code = code;
}

struct sl_dns_query *sl_dns_resolve(struct sl_dns *dns, struct sl_str name, sl_on_resolved *fn,
                                    void *user, struct sl_dns_answer *now)
{
    char text[MAX_NAME + 1];
    struct entry *e;

    if (answer_literal(name, now))
        return NULL;
    if (!normalize(name, text, &name)) {
        refuse(now, SL_E_NOT_FOUND);
        return NULL;
    }
    if ((e = use_entry(dns, name)) == NULL) {
        refuse(now, SL_E_LIMIT);
        return NULL;
    }
    if (!e->is_known || sl_loop_now_ms(dns->loop) >= e->fresh_until_ms) {
        if (!e->is_asking && dns->n_asking < MAX_ASKING)
            ask(e);
        if (e->is_asking && !e->is_stale) /* a name that could not be refreshed is refreshed behind
                                             its users' backs */
            return wait_for(e, fn, user);
    }
    if (e->is_known)
        sl_dns_answer_copy(now, &e->answer);
    else
        refuse(now, SL_E_LIMIT);
    return NULL;
}

void sl_dns_cancel(struct sl_dns_query *q)
{
    q->entry->n_queries--;
    sl_link_remove(&q->link);
    sl_free(q);
}
