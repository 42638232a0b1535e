#include <pthread.h>
#include <stdatomic.h>
#include "route/target.h"
#include "route/test_routes.h"

static atomic_uint n_released;

static void release(void *tls_data)
{
    n_released += tls_data != NULL;
}

/* Adds the route "r<n>" for "<n>.example" with a digest that says `n`, or takes it over. */
static bool add_numbered(struct sl_snapshot_builder *b, uint32_t n)
{
    const struct sl_port_range port = {443, 443};
    char name[16], domain[24];
    struct sl_str domain_str;
    struct sl_target_spec target = {.host = SL_STR("target"), .port = (uint16_t)(n + 1)};
    struct sl_route_spec spec = {
        .ports = &port,
        .n_ports = 1,
        .domains = &domain_str,
        .n_domains = 1,
        .targets = &target,
        .n_targets = 1,
        .tls = SL_TLS_TERMINATE,
        .tls_data = &n_released,
        .release_tls = release,
    };

    spec.name = sl_str(name, (size_t)snprintf(name, sizeof(name), "r%u", n));
    domain_str = sl_str(domain, (size_t)snprintf(domain, sizeof(domain), "%u.example", n));
    memcpy(spec.digest, &n, sizeof(n));
    spec.digest[31] = 1;
    if (sl_snapshot_add_known(b, spec.digest))
        return true;
    sl_check(sl_snapshot_add(b, &spec, NULL) == 0);
    return false;
}

static struct sl_snapshot *make(struct sl_snapshot *previous, uint32_t first, uint32_t last,
                                size_t *n_known)
{
    struct sl_snapshot_builder *b = sl_snapshot_begin(previous);

    *n_known = 0;
    for (uint32_t n = first; n <= last; n++)
        *n_known += add_numbered(b, n);
    return sl_snapshot_finish(b);
}

static void unchanged_routes_are_taken_over(void)
{
    size_t n_known, n;
    struct sl_snapshot *old = make(NULL, 1, 5, &n_known), *new;
    struct sl_route *kept = sl_snapshot_by_name(old, SL_STR("r3"));
    struct sl_route *const *routes;

    sl_check(n_known == 0);
    n_released = 0;
    kept->n_requests = 77;
    new = make(old, 3, 7, &n_known);
    sl_check(n_known == 3);
    sl_snapshot_unref(old);
    sl_check(n_released == 2); /* 1 and 2 went with the old snapshot */
    sl_check(sl_snapshot_by_name(new, SL_STR("r3")) == kept);
    sl_check(kept->n_requests == 77); /* and its counters live on */
    sl_check(test_find(new, 443, "5.example", "/") != NULL);
    sl_check(test_find(new, 443, "7.example", "/") != NULL);
    sl_check(test_find(new, 443, "1.example", "/") == NULL);
    n = sl_snapshot_routes(new, &routes);
    sl_check(n == 5 && routes[0] == kept);
    sl_snapshot_unref(new);
    sl_check(n_released == 7);
}

static void a_builder_keeps_the_previous_snapshot_alive(void)
{
    size_t n_known;
    struct sl_snapshot *old = make(NULL, 1, 2, &n_known);
    struct sl_snapshot_builder *b = sl_snapshot_begin(old);

    sl_snapshot_unref(old);
    sl_check(add_numbered(b, 2));
    sl_check(add_numbered(b, 2)); /* twice is legal: the route is shared */
    n_released = 0;
    sl_snapshot_abandon(b);
    sl_check(n_released == 2);
}

static void a_route_without_digest_is_not_taken_over(void)
{
    static const struct test_route routes[] = {{.name = "a"}};
    struct sl_snapshot *s = test_snapshot(routes, 1);
    struct sl_snapshot_builder *b = sl_snapshot_begin(s);

    sl_check(!sl_snapshot_add_known(b, (const uint8_t[32]){0}));
    sl_snapshot_abandon(b);
    sl_snapshot_unref(s);
}

static void a_route_outlives_its_snapshot(void)
{
    size_t n_known;
    struct sl_snapshot *s = make(NULL, 1, 1, &n_known);
    struct sl_route *r = sl_route_ref(sl_snapshot_by_name(s, SL_STR("r1")));

    n_released = 0;
    sl_snapshot_unref(s);
    sl_check(n_released == 0);
    sl_check_str(r->name, SL_STR("r1"));
    sl_route_unref(r);
    sl_check(n_released == 1);
    sl_route_unref(NULL);
    sl_snapshot_unref(NULL);
}

static void the_first_of_one_name_is_found(void)
{
    static const struct test_route routes[] = {
        {.name = "twin", .ports = "1"}, {.name = "twin", .ports = "2"}, {.ports = "3"}};
    struct sl_snapshot *s = test_snapshot(routes, SL_COUNT(routes));
    struct sl_route *const *all;

    sl_check(sl_snapshot_routes(s, &all) == 3);
    sl_check(sl_snapshot_by_name(s, SL_STR("twin")) == all[0]);
    sl_check(sl_snapshot_by_name(s, SL_STR("")) == NULL);
    sl_check(sl_snapshot_by_name(s, SL_STR("other")) == NULL);
    sl_snapshot_unref(s);
}

static bool port_is(const struct sl_port_info *p, unsigned port, enum sl_transport transport,
                    const char *has)
{
    return p->port == port && p->transport == transport &&
           p->has_tls == (strchr(has, 't') != NULL) && p->has_plain == (strchr(has, 'p') != NULL) &&
           p->has_raw == (strchr(has, 'r') != NULL) && p->has_http == (strchr(has, 'h') != NULL);
}

static void ports_say_what_they_need(void)
{
    static const struct test_route routes[] = {
        {.name = "web", .ports = "80-81"},
        {.name = "tls", .ports = "443", .tls = SL_TLS_TERMINATE, .transport = SL_TRANSPORT_ALL},
        {.name = "pass", .ports = "444", .tls = SL_TLS_PASSTHROUGH},
        {.name = "both", .ports = "444"},
        {.name = "raw", .ports = "81 5432", .protocol = SL_PROTOCOL_TCP},
        {.name = "raw-tls", .ports = "444", .protocol = SL_PROTOCOL_TCP, .tls = SL_TLS_TERMINATE},
        {.name = "dns", .ports = "53", .protocol = SL_PROTOCOL_TCP, .transport = SL_TRANSPORT_UDP},
        {.name = "dns-tcp", .ports = "53", .protocol = SL_PROTOCOL_TCP},
    };
    struct sl_snapshot *s = test_snapshot(routes, SL_COUNT(routes));
    const struct sl_port_info *p;

    sl_check(sl_snapshot_ports(s, &p) == 6);
    sl_check(port_is(&p[0], 53, SL_TRANSPORT_ALL, "pr"));
    sl_check(port_is(&p[1], 80, SL_TRANSPORT_TCP, "ph"));
    sl_check(port_is(&p[2], 81, SL_TRANSPORT_TCP, "prh"));
    sl_check(port_is(&p[3], 443, SL_TRANSPORT_ALL, "t"));
    sl_check(port_is(&p[4], 444, SL_TRANSPORT_TCP, "tp>h"));
    sl_check(port_is(&p[5], 5432, SL_TRANSPORT_TCP, "pr"));
    for (size_t i = 0; i < 6; i++)
        sl_check(sl_snapshot_port(s, p[i].port) == &p[i]);
    sl_check(sl_snapshot_port(s, 79) == NULL && sl_snapshot_port(s, 82) == NULL);
    sl_check(sl_snapshot_port(s, 0) == NULL && sl_snapshot_port(s, 65535) == NULL);
    sl_snapshot_unref(s);
}

/* l: listens on TCP, 3: HTTP/3, d: datagrams, s: on one worker alone. */
static void ports_say_what_is_listened_on(void)
{
    static const struct test_route routes[] = {
        {.name = "web", .ports = "80 443", .tls = SL_TLS_TERMINATE, .transport = SL_TRANSPORT_ALL},
        {.name = "inside", .ports = "25 443", .protocol = SL_PROTOCOL_TCP, .is_tunnelled = true},
        {.name = "inside-udp",
         .ports = "443",
         .protocol = SL_PROTOCOL_TCP,
         .transport = SL_TRANSPORT_UDP,
         .is_tunnelled = true,
         .tunnel = "main"},
        {.name = "edge", .ports = "22-23 80", .protocol = SL_PROTOCOL_TCP, .tunnel = "main"},
        {.name = "dns",
         .ports = "53",
         .protocol = SL_PROTOCOL_TCP,
         .transport = SL_TRANSPORT_UDP,
         .tunnel = "main"},
        {.name = "syslog",
         .ports = "514",
         .protocol = SL_PROTOCOL_TCP,
         .transport = SL_TRANSPORT_ALL},
    };
    static const struct {
        unsigned port;
        const char *has;
    } rows[] = {{22, "ls"},  {23, "ls"},  {25, ""},   {53, "ds"},
                {80, "l3s"}, {443, "l3"}, {514, "ld"}};
    struct sl_snapshot *s = test_snapshot(routes, SL_COUNT(routes));
    const struct sl_port_info *p;

    sl_check(sl_snapshot_ports(s, &p) == SL_COUNT(rows));
    for (size_t i = 0; i < SL_COUNT(rows); i++) {
        const char *has = rows[i].has;
        bool udp = strchr(has, '3') != NULL || strchr(has, 'd') != NULL;

        sl_check(p[i].port == rows[i].port);
        sl_check((p[i].listens & SL_TRANSPORT_TCP) == (strchr(has, 'l') != NULL));
        sl_check(!(p[i].listens & SL_TRANSPORT_UDP) == !udp);
        sl_check(p[i].has_http3 == (strchr(has, '3') != NULL));
        sl_check(p[i].has_udp == (strchr(has, 'd') != NULL));
        sl_check(p[i].is_single == (strchr(has, 's') != NULL));
    }
    sl_check(sl_route_listens(sl_snapshot_by_name(s, SL_STR("edge")), 23, SL_PORT_TCP));
    sl_check(!sl_route_listens(sl_snapshot_by_name(s, SL_STR("edge")), 24, SL_PORT_TCP));
    sl_check(!sl_route_listens(sl_snapshot_by_name(s, SL_STR("edge")), 23, SL_PORT_UDP));
    sl_check(!sl_route_listens(sl_snapshot_by_name(s, SL_STR("inside")), 25, SL_PORT_TCP));
    sl_check(sl_route_listens(sl_snapshot_by_name(s, SL_STR("web")), 443, SL_PORT_QUIC));
    sl_snapshot_unref(s);
}

static void a_whole_range_of_ports_is_one_group(void)
{
    static const struct test_route routes[] = {{.name = "all", .ports = "1-65535"}};
    struct sl_snapshot *s = test_snapshot(routes, 1);
    const struct sl_port_info *p;

    sl_check(sl_snapshot_ports(s, &p) == 65535);
    sl_check(p[0].port == 1 && p[65534].port == 65535);
    sl_check(test_find(s, 1, "", "") != NULL && test_find(s, 65535, "x", "/") != NULL);
    sl_snapshot_unref(s);
}

static void the_policy_is_kept(void)
{
    const struct sl_str block[] = {SL_STR("10.0.0.0/8"), SL_STR("nonsense")};
    struct sl_policy_spec spec = {
        .block = block, .n_block = 1, .max_connections_per_ip = 3, .connections_per_minute = 4};
    struct sl_snapshot_builder *b = sl_snapshot_begin(NULL);
    const struct sl_policy *policy;
    struct sl_snapshot *s;
    struct sl_err err;

    sl_check(sl_snapshot_set_policy(b, &spec, NULL) == 0);
    sl_check(sl_snapshot_set_policy(b, &spec, NULL) == 0); /* the last one counts */
    spec.n_block = 2;
    sl_check(sl_snapshot_set_policy(b, &spec, &err) == SL_E_CONFIG);
    sl_check(sl_str_starts(sl_str_c(err.text), SL_STR("block[1]: \"nonsense\" is not")));
    s = sl_snapshot_finish(b);
    policy = sl_snapshot_policy(s);
    sl_check(policy->max_connections_per_ip == 3 && policy->connections_per_minute == 4);
    sl_check(!sl_access_allows(&policy->access, test_ip("10.0.0.1")));
    sl_check(sl_access_allows(&policy->access, test_ip("11.0.0.1")));
    sl_snapshot_unref(s);
}

static void routes_can_be_left_out(void)
{
    static const struct test_route routes[] = {
        {.name = "a", .ports = "1"}, {.name = "b", .ports = "2"}, {.name = "c", .ports = "3"}};
    const struct sl_str block = SL_STR("10.0.0.0/8");
    const struct sl_policy_spec policy = {
        .block = &block, .n_block = 1, .max_connections_per_ip = 7};
    struct sl_snapshot_builder *b = sl_snapshot_begin(NULL);
    struct sl_snapshot *all, *some;
    struct sl_route *const *list;

    for (size_t i = 0; i < SL_COUNT(routes); i++)
        sl_check(test_add(b, &routes[i], NULL) == 0);
    sl_check(sl_snapshot_set_policy(b, &policy, NULL) == 0);
    all = sl_snapshot_finish(b);
    some = sl_snapshot_without(all, (const bool[]){false, true, false});
    sl_snapshot_unref(all);
    sl_check(sl_snapshot_routes(some, &list) == 2);
    sl_check_str(list[0]->name, SL_STR("a"));
    sl_check_str(list[1]->name, SL_STR("c"));
    sl_check(sl_snapshot_port(some, 2) == NULL && sl_snapshot_port(some, 3) != NULL);
    sl_check(!sl_access_allows(&sl_snapshot_policy(some)->access, test_ip("10.0.0.1")));
    sl_check(sl_snapshot_policy(some)->max_connections_per_ip == 7);
    sl_snapshot_unref(some);
}

static void ids_belong_to_equal_targets(void)
{
    size_t n_known;
    struct sl_snapshot *a = make(NULL, 1, 3, &n_known), *b = make(NULL, 2, 4, &n_known);
    const struct sl_target *a2 = sl_snapshot_by_name(a, SL_STR("r2"))->targets;
    const struct sl_target *b2 = sl_snapshot_by_name(b, SL_STR("r2"))->targets;
    const struct sl_target *a1 = sl_snapshot_by_name(a, SL_STR("r1"))->targets;
    uint32_t id = a2->id, other = a1->id;

    sl_check(a2 != b2 && a2->id == b2->id && a1->id != a2->id);
    sl_check(sl_target_states() == 4);
    sl_target_failed(a2, 1000);
    sl_check(sl_target_is_resting(b2, 2999) && !sl_target_is_resting(b2, 3000));
    sl_check(!sl_target_is_resting(a1, 1000));
    sl_snapshot_unref(a);
    sl_check(b2->id == id && sl_target_is_resting(b2, 1000)); /* survives the swap */
    sl_target_ok(b2);
    sl_check(!sl_target_is_resting(b2, 1000));
    sl_snapshot_unref(b);
    sl_check(sl_target_states() == 0);
    a = make(NULL, 1, 1, &n_known);
    sl_check(sl_snapshot_by_name(a, SL_STR("r1"))->targets->id !=
             other); /* ids are not used again */
    sl_snapshot_unref(a);
}

/* Targets that differ in one thing each, and one that is the same as the first. */
static void every_part_of_a_target_counts_for_its_id(void)
{
    const struct sl_target_spec targets[] = {
        {.host = SL_STR("a"), .port = 1},
        {.host = SL_STR("b"), .port = 1},
        {.host = SL_STR("a"), .port = 2},
        {.host = SL_STR("a"), .port = 257},
        {.host = SL_STR("a"), .port = 1, .tls = true},
        {.host = SL_STR("a"), .port = 1, .tls = true, .tls_verify = true},
        {.unix_path = SL_STR("/a")},
        {.tunnel = SL_STR("a")},
        {.tunnel = SL_STR("/a")},
        {.host = SL_STR("A"), .port = 1, .weight = 2, .path = SL_STR("/x")},
    };
    const struct sl_port_range port = {80, 80};
    const struct sl_route_spec spec = {
        .ports = &port,
        .n_ports = 1,
        .targets = targets,
        .n_targets = SL_COUNT(targets),
        .protocol = SL_PROTOCOL_TCP,
    };
    struct sl_snapshot_builder *b = sl_snapshot_begin(NULL);
    struct sl_snapshot *s;
    struct sl_target *t;

    sl_check(sl_snapshot_add(b, &spec, NULL) == 0);
    s = sl_snapshot_finish(b);
    t = test_find(s, 80, "", "")->targets;
    for (size_t i = 0; i < 9; i++) {
        for (size_t k = i + 1; k < 9; k++)
            sl_check(t[i].id != t[k].id);
    }
    sl_check(t[9].id == t[0].id);
    sl_snapshot_unref(s);
}

/* --- threads --- */

enum { N_SWAPS = 300, N_READERS = 3 };

/* What the workers would share: the place of the current snapshot. A lock stands in for their
 * message queues. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct sl_snapshot *current;

static struct sl_snapshot *take_current(void)
{
    struct sl_snapshot *s;

    pthread_mutex_lock(&lock);
    s = current != NULL ? sl_snapshot_ref(current) : NULL;
    pthread_mutex_unlock(&lock);
    return s;
}

static void publish(struct sl_snapshot *s)
{
    struct sl_snapshot *old;

    pthread_mutex_lock(&lock);
    old = current;
    current = s;
    pthread_mutex_unlock(&lock);
    sl_snapshot_unref(old);
}

/* Looks up and lets go; now and then it is the last to do so. */
static void *read_until_the_end(void *failures)
{
    struct sl_snapshot *s;

    while ((s = take_current()) != NULL) {
        struct sl_route *r = test_find(s, 443, "10.example", "/");
        const struct sl_target *picks[SL_MAX_PICKS];

        if (r == NULL || sl_route_pick(r, SL_STR("GET"), SL_STR("/"), NULL, 0, picks) != 1)
            atomic_fetch_add((atomic_uint *)failures, 1);
        if (r != NULL) {
            sl_target_begin(picks[0]);
            sl_target_failed(picks[0], 1);
            sl_target_ok(picks[0]);
            sl_target_end(picks[0]);
        }
        sl_snapshot_unref(s);
    }
    return NULL;
}

static void snapshots_are_freed_by_whoever_is_last(void)
{
    pthread_t readers[N_READERS];
    atomic_uint failures = 0;
    size_t n_known;

    publish(make(NULL, 1, 20, &n_known));
    for (size_t i = 0; i < N_READERS; i++)
        sl_check(pthread_create(&readers[i], NULL, read_until_the_end, &failures) == 0);
    for (uint32_t i = 1; i <= N_SWAPS; i++) {
        struct sl_snapshot *previous = take_current();

        publish(make(previous, 1 + i % 7, 20 + i % 5, &n_known));
        sl_snapshot_unref(previous);
    }
    publish(NULL);
    for (size_t i = 0; i < N_READERS; i++)
        pthread_join(readers[i], NULL);
    sl_check(failures == 0);
    sl_check(sl_target_states() == 0);
}

int main(void)
{
    unchanged_routes_are_taken_over();
    a_builder_keeps_the_previous_snapshot_alive();
    a_route_without_digest_is_not_taken_over();
    a_route_outlives_its_snapshot();
    the_first_of_one_name_is_found();
    ports_say_what_they_need();
    ports_say_what_is_listened_on();
    a_whole_range_of_ports_is_one_group();
    the_policy_is_kept();
    routes_can_be_left_out();
    ids_belong_to_equal_targets();
    every_part_of_a_target_counts_for_its_id();
    snapshots_are_freed_by_whoever_is_last();
    return sl_check_done();
}
