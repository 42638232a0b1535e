#include "route/compiled.h"

#include <stdatomic.h>
#include "route/match.h"
#include "route/target.h"

/* A route and what belongs to it in one piece; `room` is where its arena begins. */
struct block {
    struct sl_route route;
    struct sl_route_private priv;
    char room[] __attribute__((aligned(16)));
};

/* --- how much room the texts and arrays will take: a guess that is nearly always enough, the arena
 * goes on if not --- */

static size_t text_room(struct sl_str s)
{
    return s.len + 32;
}

static size_t header_room(const struct sl_header_spec *edits, size_t n)
{
    size_t len = n * sizeof(*edits);

    for (size_t i = 0; i < n; i++)
        len += text_room(edits[i].name) + text_room(edits[i].value);
    return len;
}

static size_t target_room(const struct sl_target_spec *targets, size_t n)
{
    size_t len = n * (sizeof(struct sl_target) + sizeof(struct sl_target_rule));

    for (size_t i = 0; i < n; i++)
        len += text_room(targets[i].host) + text_room(targets[i].unix_path) +
               text_room(targets[i].tunnel) + text_room(targets[i].path) +
               targets[i].n_methods * 48;
    return len;
}

static size_t guess_room(const struct sl_route_spec *spec)
{
    size_t len = text_room(spec->name) + text_room(spec->path) + text_room(spec->location) +
                 text_room(spec->body) + text_room(spec->content_type) + text_room(spec->realm);

    len += 16 + spec->n_ports * sizeof(*spec->ports);
    for (size_t i = 0; i < spec->n_domains; i++)
        len += sizeof(struct sl_domain) + text_room(spec->domains[i]);
    for (size_t i = 0; i < spec->n_headers; i++)
        len += sizeof(struct sl_header_match) + text_room(spec->headers[i].name) +
               text_room(spec->headers[i].value);
    for (size_t i = 0; i < spec->n_users; i++)
        len += sizeof(struct sl_str) + text_room(spec->users[i].name) +
               text_room(spec->users[i].password);
    return len + target_room(spec->targets, spec->n_targets) +
           header_room(spec->request_headers, spec->n_request_headers) +
           header_room(spec->response_headers, spec->n_response_headers);
}

/* --- copies --- */

static struct sl_str copy(struct sl_route *r, struct sl_str s)
{
    return s.len > 0 ? sl_arena_dup(&r->priv->arena, s) : SL_STR_NONE;
}

static struct sl_str copy_lower(struct sl_route *r, struct sl_str s)
{
    char *p;

    s = copy(r, s);
    p = (char *)s.p;
    for (size_t i = 0; i < s.len; i++)
        p[i] = (char)sl_lower((unsigned char)p[i]);
    return s;
}

/* Zeroed room for an array; NULL for none. */
static void *array(struct sl_route *r, size_t n, size_t size)
{
    return n > 0 ? memset(sl_arena_alloc(&r->priv->arena, n * size), 0, n * size) : NULL;
}

static struct sl_domain make_domain(struct sl_route *r, struct sl_str pattern)
{
    struct sl_str name = sl_domain_trim(pattern);
    char ipv6[INET6_ADDRSTRLEN];
    struct sl_domain d = {.kind = SL_DOMAIN_GLOB};
    unsigned n_stars = 0;

    d.key = copy_lower(r, sl_domain_ipv6(name, ipv6) ? sl_str_c(ipv6) : name);
    for (size_t i = 0; i < d.key.len; i++)
        n_stars += d.key.p[i] == '*';
    d.specificity = 1 + (unsigned)d.key.len - n_stars;
    if (n_stars == 0) {
        d.kind = SL_DOMAIN_EXACT;
        d.specificity = UINT16_MAX;
    } else if (n_stars == 1 && sl_str_starts(d.key, SL_STR("*."))) {
        d.kind = SL_DOMAIN_SUFFIX;
        d.key = sl_str(d.key.p + 1, d.key.len - 1);
    }
    return d;
}

static void set_domains(struct sl_route *r, const struct sl_route_spec *spec)
{
    struct sl_domain *domains = array(r, spec->n_domains, sizeof(*domains));

    for (size_t i = 0; i < spec->n_domains; i++)
        domains[i] = make_domain(r, spec->domains[i]);
    r->priv->domains = domains;
    r->priv->n_domains = spec->n_domains;
}

static void set_header_matches(struct sl_route *r, const struct sl_route_spec *spec)
{
    struct sl_header_match *headers = array(r, spec->n_headers, sizeof(*headers));

    for (size_t i = 0; i < spec->n_headers; i++)
        headers[i] = (struct sl_header_match){copy(r, spec->headers[i].name),
                                              copy(r, spec->headers[i].value)};
    r->priv->headers = headers;
    r->priv->n_headers = spec->n_headers;
}

static int set_match(struct sl_route *r, const struct sl_route_spec *spec, struct sl_err *err)
{
    struct sl_port_range *ports = array(r, spec->n_ports, sizeof(*ports));

    memcpy(ports, spec->ports, spec->n_ports * sizeof(*ports));
    r->priv->ports = ports;
    r->priv->n_ports = spec->n_ports;
    set_domains(r, spec);
    r->priv->path = copy(r, spec->path);
    r->has_path = spec->path.len > 0;
    set_header_matches(r, spec);
    r->priv->has_client_ips = spec->n_client_ips > 0;
    return sl_ip_set_init(&r->priv->client_ips, spec->client_ips, spec->n_client_ips,
                          "match.clientIp", err);
}

/* An empty value stays apart from none: the one sets an empty header, the other removes it. */
static const struct sl_header_spec *copy_edits(struct sl_route *r,
                                               const struct sl_header_spec *from, size_t n)
{
    struct sl_header_spec *edits = array(r, n, sizeof(*edits));

    for (size_t i = 0; i < n; i++) {
        edits[i].name = copy(r, from[i].name);
        if (from[i].value.p != NULL)
            edits[i].value = sl_arena_dup(&r->priv->arena, from[i].value);
    }
    return edits;
}

static void set_plain_fields(struct sl_route *r, const struct sl_route_spec *spec)
{
    r->name = copy(r, spec->name);
    r->transport = spec->transport != 0 ? spec->transport : SL_TRANSPORT_TCP;
    r->protocol = spec->protocol;
    r->is_tunnelled = spec->is_tunnelled;
    r->action = spec->action;
    r->tls = spec->tls;
    r->balance = spec->balance;
    r->backend = spec->backend;
    r->rewrite_host = spec->rewrite_host;
    r->no_websocket = spec->no_websocket;
    r->send_proxy = spec->send_proxy;
    r->status = spec->status != 0 ? spec->status : spec->action == SL_ACTION_REDIRECT ? 301 : 200;
    r->location = copy(r, spec->location);
    r->body = copy(r, spec->body);
    r->content_type = copy(r, spec->content_type);
    r->request_headers = copy_edits(r, spec->request_headers, spec->n_request_headers);
    r->n_request_headers = spec->n_request_headers;
    r->response_headers = copy_edits(r, spec->response_headers, spec->n_response_headers);
    r->n_response_headers = spec->n_response_headers;
    r->connect_timeout_ms = spec->connect_timeout_ms;
    r->response_timeout_ms = spec->response_timeout_ms;
    r->alt_svc_port = spec->alt_svc_port;
    r->alt_svc_max_age = spec->alt_svc_max_age;
    r->priv->priority = spec->priority;
    memcpy(r->priv->digest, spec->digest, sizeof(spec->digest));
}

static int set_security(struct sl_route *r, const struct sl_route_spec *spec, struct sl_err *err)
{
    int rc;

    r->max_connections = spec->max_connections;
    r->realm = copy(r, spec->realm);
    r->priv->credentials = array(r, spec->n_users, sizeof(struct sl_str));
    r->n_users = spec->n_users;
    for (size_t i = 0; i < spec->n_users; i++) {
        const struct sl_user_spec *user = &spec->users[i];

        r->priv->credentials[i] = sl_arena_printf(
            &r->priv->arena, "%.*s:%.*s", SL_STR_FMT(user->name), SL_STR_FMT(user->password));
    }
    if ((rc = sl_ip_set_init(&r->access.allow, spec->allow, spec->n_allow, "security.ipAllowList",
                             err)) < 0)
        return rc;
    return sl_ip_set_init(&r->access.block, spec->block, spec->n_block, "security.ipBlockList",
                          err);
}

/* --- targets --- */

static struct sl_str without_brackets(struct sl_str host)
{
    return host.len > 2 && host.p[0] == '[' ? sl_str(host.p + 1, host.len - 2) : host;
}

static void set_target(struct sl_route *r, struct sl_target *t, const struct sl_target_spec *spec)
{
    *t = (struct sl_target){
        .host = copy_lower(r, without_brackets(sl_str_trim(spec->host))),
        .unix_path = copy(r, spec->unix_path),
        .tunnel = copy(r, spec->tunnel),
        .port = spec->host.len > 0 ? spec->port : 0,
        .tls = spec->tls,
        .tls_verify = spec->tls && spec->tls_verify,
        .priority = spec->priority,
        .weight = spec->weight > 0 ? spec->weight : 1,
        .route = r,
    };
    t->state = sl_target_state_get(t);
    t->id = t->state->id;
}

static void set_rule(struct sl_route *r, struct sl_target_rule *rule,
                     const struct sl_target_spec *spec)
{
    struct sl_str *methods = array(r, spec->n_methods, sizeof(*methods));

    for (size_t i = 0; i < spec->n_methods; i++)
        methods[i] = copy(r, spec->methods[i]);
    *rule = (struct sl_target_rule){copy(r, spec->path), methods, spec->n_methods};
    r->has_sub_match = r->has_sub_match || spec->path.len > 0 || spec->n_methods > 0;
}

/* Highest priority first, else as declared, so that a tier of equal priority is a run. */
static void sort_by_priority(const struct sl_target_spec *targets, size_t n, uint16_t *order)
{
    for (size_t i = 0; i < n; i++) {
        size_t at = i;

        for (; at > 0 && targets[order[at - 1]].priority < targets[i].priority; at--)
            order[at] = order[at - 1];
        order[at] = (uint16_t)i;
    }
}

static void set_targets(struct sl_route *r, const struct sl_route_spec *spec)
{
    struct sl_target_rule *rules = array(r, spec->n_targets, sizeof(*rules));
    uint16_t order[SL_MAX_TARGETS];

    r->targets = array(r, spec->n_targets, sizeof(*r->targets));
    r->n_targets = spec->n_targets;
    r->priv->rules = rules;
    sort_by_priority(spec->targets, spec->n_targets, order);
    for (size_t i = 0; i < spec->n_targets; i++) {
        set_target(r, &r->targets[i], &spec->targets[order[i]]);
        set_rule(r, &rules[i], &spec->targets[order[i]]);
    }
}

/* --- the route --- */

static struct sl_route *route_new(const struct sl_route_spec *spec)
{
    size_t room = guess_room(spec);
    struct block *b = sl_zalloc(sizeof(*b) + room);

    b->route.priv = &b->priv;
    b->priv.arena = (struct sl_arena){.at = b->room, .end = b->room + room};
    atomic_init(&b->priv.n_refs, 1);
    return &b->route;
}

static void route_free(struct sl_route *r)
{
    struct sl_route_private *priv = r->priv;

    if (priv->release_tls != NULL && r->tls_data != NULL)
        priv->release_tls(r->tls_data);
    for (size_t i = 0; i < r->n_targets; i++)
        sl_target_state_put(r->targets[i].state);
    for (size_t i = 0; i < r->n_users; i++)
        explicit_bzero((char *)priv->credentials[i].p, priv->credentials[i].len);
    sl_ip_set_clear(&priv->client_ips);
    sl_ip_set_clear(&r->access.allow);
    sl_ip_set_clear(&r->access.block);
    sl_arena_clear(&priv->arena);
    sl_free(sl_container_of(r, struct block, route));
}

int sl_route_compile(struct sl_route **out, const struct sl_route_spec *spec, struct sl_err *err)
{
    struct sl_route *r;
    int rc = sl_route_check(spec, err);

    if (rc < 0)
        return rc;
    r = route_new(spec);
    set_plain_fields(r, spec);
    if (spec->action == SL_ACTION_FORWARD)
        set_targets(r, spec);
    if ((rc = set_match(r, spec, err)) < 0 || (rc = set_security(r, spec, err)) < 0) {
        route_free(r);
        return rc;
    }
    r->tls_data = spec->tls_data; /* last: on failure it stays the caller's */
    r->priv->release_tls = spec->release_tls;
    *out = r;
    return 0;
}

struct sl_route *sl_route_ref(struct sl_route *r)
{
    atomic_fetch_add_explicit(&r->priv->n_refs, 1, memory_order_relaxed);
    return r;
}

void sl_route_unref(struct sl_route *r)
{
    if (r != NULL && atomic_fetch_sub_explicit(&r->priv->n_refs, 1, memory_order_acq_rel) == 1)
        route_free(r);
}

bool sl_route_has_use(const struct sl_route *r, enum sl_port_use use)
{
    bool is_raw = r->protocol == SL_PROTOCOL_TCP;

    if (r->is_tunnelled)
        return false;
    if (use == SL_PORT_TCP)
        return (r->transport & SL_TRANSPORT_TCP) != 0;
    if ((r->transport & SL_TRANSPORT_UDP) == 0)
        return false;
    if (use == SL_PORT_UDP)
        return is_raw && r->tls == SL_TLS_NONE;
    /* HTTP/3 needs a certificate of ours and requests to look at. */
    return !is_raw && (r->tls == SL_TLS_TERMINATE || r->tls == SL_TLS_REENCRYPT);
}

bool sl_route_listens(const struct sl_route *r, uint16_t port, enum sl_port_use use)
{
    return sl_route_has_use(r, use) && sl_route_has_port(r, port);
}

bool sl_route_has_port(const struct sl_route *r, uint16_t port)
{
    for (size_t i = 0; i < r->priv->n_ports; i++) {
        if (r->priv->ports[i].from <= port && port <= r->priv->ports[i].to)
            return true;
    }
    return false;
}
