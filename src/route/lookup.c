/* Finding a route. Every list of candidates that the name leads to is walked until it cannot hold a
 * better one. */
#include "route/match.h"
#include "route/store.h"

struct search {
    const struct sl_route_query *query;
    bool for_tls; /* the nearest name decides, and path and headers are not known */
    const struct sl_candidate *best;
};

/* --- criteria --- */

static bool headers_match(const struct sl_route *r, const struct sl_route_query *q)
{
    for (size_t i = 0; i < r->priv->n_headers; i++) {
        const struct sl_header_match *m = &r->priv->headers[i];
        struct sl_str value = q->header != NULL ? q->header(q->message, m->name) : SL_STR_NONE;

        if (!sl_str_ieq(value, m->value))
            return false;
    }
    return true;
}

static bool client_matches(const struct sl_route *r, const struct sl_route_query *q)
{
    return !r->priv->has_client_ips ||
           (q->client_ip != NULL && sl_ip_set_has(&r->priv->client_ips, q->client_ip));
}

/* All criteria but port and domain, which the tables have compared. */
static bool matches(const struct search *s, const struct sl_candidate *c)
{
    const struct sl_route_query *q = s->query;

    if ((c->transport & q->transport) == 0 || (s->for_tls && !c->has_tls) ||
        (c->is_tunnelled && !q->is_tunnelled) || (q->is_datagrams && !c->is_plain_raw))
        return false;
    if (!c->has_criteria)
        return true;
    return client_matches(c->route, q) &&
           (s->for_tls ||
            (sl_path_matches(c->route->priv->path, q->path) && headers_match(c->route, q)));
}

/* --- lists --- */

static bool is_better(const struct search *s, const struct sl_candidate *c)
{
    if (s->best == NULL)
        return true;
    if (s->for_tls && c->specificity != s->best->specificity)
        return c->specificity > s->best->specificity;
    return c->rank < s->best->rank;
}

/* The candidates of a list share their specificity and are in order: the first that matches is its
   best, and the first that is no better than what we have ends it. */
static void walk(struct search *s, const struct sl_candidate *list, bool is_wide)
{
    for (const struct sl_candidate *c = list; c != NULL && is_better(s, c); c = c->next) {
        if (is_wide && !sl_route_has_port(c->route, s->query->port))
            continue;
        if (matches(s, c)) {
            s->best = c;
            return;
        }
    }
}

/* Globs differ in specificity and each has to be compared with the name. */
static void walk_globs(struct search *s, const struct sl_candidate *list, bool is_wide)
{
    for (const struct sl_candidate *c = list; c != NULL; c = c->next) {
        if (is_better(s, c) && sl_glob_matches(c->domain->key, s->query->host) &&
            (!is_wide || sl_route_has_port(c->route, s->query->port)) && matches(s, c))
            s->best = c;
    }
}

/* Each suffix that begins with a dot behind at least one character, if it can be one of ours at
 * all. */
static void walk_suffixes(struct search *s, const struct sl_port_group *group, bool is_wide)
{
    const char *at = s->query->host.p + 1, *end = s->query->host.p + s->query->host.len;

    if (group->suffixes.n == 0)
        return;
    if (s->best != NULL && !s->for_tls && s->best->rank < group->suffix_rank)
        return; /* the usual case after an exact name: saves a hash for each dot */
    while (at < end && (at = memchr(at, '.', (size_t)(end - at))) != NULL) {
        struct sl_str suffix = sl_str(at, (size_t)(end - at));

        if (group->suffix_lengths >> suffix.len % 64 & 1)
            walk(s, sl_map_get(&group->suffixes, suffix), is_wide);
        at++;
    }
}

static void search_group(struct search *s, const struct sl_port_group *group, uint64_t host_hash,
                         bool is_wide)
{
    if (s->query->host.len > 0) {
        walk(s, sl_map_get_hashed(&group->exact, s->query->host, host_hash), is_wide);
        walk_suffixes(s, group, is_wide);
        walk_globs(s, group->globs, is_wide);
    }
    walk(s, group->nameless, is_wide);
}

static struct sl_route *search(const struct sl_snapshot *snapshot, const struct sl_route_query *q,
                               bool for_tls)
{
    const struct sl_index *index = &snapshot->index;
    struct search s = {q, for_tls, NULL};
    uint16_t group = index->group_of[q->port];
    uint64_t host_hash = q->host.len > 0 ? sl_map_hash(q->host) : 0;

    if (group == 0)
        return NULL;
    search_group(&s, &index->groups[group], host_hash, false);
    if (index->has_wide)
        search_group(&s, &index->groups[0], host_hash, true);
    return s.best != NULL ? s.best->route : NULL;
}

struct sl_route *sl_snapshot_find(const struct sl_snapshot *s, const struct sl_route_query *q)
{
    return search(s, q, false);
}

struct sl_route *sl_snapshot_find_tls(const struct sl_snapshot *s, const struct sl_route_query *q)
{
    return search(s, q, true);
}
