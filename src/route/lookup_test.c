#include "route/test_routes.h"

struct question {
    unsigned port;
    const char *host, *path, *want; /* want "": nothing */
};

static void ask(const struct sl_snapshot *s, const struct question *questions, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct question *q = &questions[i];
        struct sl_str got = test_found(test_find(s, q->port, q->host, q->path));

        if (!sl_str_eq(got, sl_str_c(q->want)))
            fprintf(stderr, "question %zu: %u %s %s\n", i, q->port, q->host, q->path);
        sl_check_str(got, sl_str_c(q->want));
    }
}

#define check_answers(routes, questions)                                                           \
    do {                                                                                           \
        struct sl_snapshot *snapshot_ = test_snapshot((routes), SL_COUNT(routes));                 \
        ask(snapshot_, (questions), SL_COUNT(questions));                                          \
        sl_snapshot_unref(snapshot_);                                                              \
    } while (0)

static void nothing_is_found_in_nothing(void)
{
    struct sl_snapshot *s = test_snapshot(NULL, 0);

    sl_check(test_find(s, 80, "a.example", "/") == NULL);
    sl_check(test_find(s, 0, "", "") == NULL);
    sl_check(test_find_tls(s, 443, SL_TRANSPORT_TCP, "a", test_ip("::1")) == NULL);
    sl_snapshot_unref(s);
}

/* What comes through a tunnel finds both kinds of routes, in their usual order. */
static void routes_for_tunnels_are_for_tunnels(void)
{
    static const struct test_route routes[] = {
        {.name = "tunnel", .priority = -1, .is_tunnelled = true, .protocol = SL_PROTOCOL_TCP},
        {.name = "named", .domains = "a.example", .is_tunnelled = true},
        {.name = "all", .domains = "b.example"},
        {.name = "tls", .ports = "443", .tls = SL_TLS_TERMINATE, .is_tunnelled = true},
    };
    static const struct {
        const char *host, *direct, *tunnelled;
    } rows[] = {{"", "", "tunnel"}, {"a.example", "", "named"}, {"b.example", "all", "all"}};
    struct sl_snapshot *s = test_snapshot(routes, SL_COUNT(routes));
    struct sl_route_query q = {.port = 80, .transport = SL_TRANSPORT_TCP};

    for (size_t i = 0; i < SL_COUNT(rows); i++) {
        q.host = sl_str_c(rows[i].host);
        q.is_tunnelled = false;
        sl_check_str(test_found(sl_snapshot_find(s, &q)), sl_str_c(rows[i].direct));
        q.is_tunnelled = true;
        sl_check_str(test_found(sl_snapshot_find(s, &q)), sl_str_c(rows[i].tunnelled));
    }
    q.port = 443;
    sl_check_str(test_found(sl_snapshot_find_tls(s, &q)), SL_STR("tls"));
    sl_check(test_find_tls(s, 443, SL_TRANSPORT_TCP, "", NULL) == NULL);
    sl_snapshot_unref(s);
}

/* A route for HTTP/3 is nothing for plain datagrams, whatever its priority. */
static void datagrams_find_their_own_routes(void)
{
    static const struct test_route routes[] = {
        {.name = "h3",
         .ports = "443",
         .priority = 9,
         .tls = SL_TLS_TERMINATE,
         .transport = SL_TRANSPORT_ALL},
        {.name = "bytes", .ports = "443", .priority = 8, .protocol = SL_PROTOCOL_TCP},
        {.name = "udp",
         .ports = "443",
         .protocol = SL_PROTOCOL_TCP,
         .transport = SL_TRANSPORT_UDP,
         .is_tunnelled = true},
    };
    struct sl_snapshot *s = test_snapshot(routes, SL_COUNT(routes));
    struct sl_route_query q = {
        .port = 443, .transport = SL_TRANSPORT_UDP, .is_tunnelled = true, .is_datagrams = true};

    sl_check_str(test_found(sl_snapshot_find(s, &q)), SL_STR("udp"));
    q.is_datagrams = false;
    sl_check_str(test_found(sl_snapshot_find(s, &q)), SL_STR("h3"));
    sl_snapshot_unref(s);
}

static void ports_and_hosts_lead_to_routes(void)
{
    static const struct test_route routes[] = {
        {.name = "a", .domains = "a.example"},
        {.name = "b", .domains = "b.example c.example.", .ports = "80 8000-8002"},
        {.name = "A2", .domains = "A.Example", .ports = "81"},
        {.name = "any", .ports = "82"},
        {.name = "named", .ports = "83", .domains = "*"},
    };
    static const struct question questions[] = {
        {80, "a.example", "/", "a"},
        {80, "b.example", "/", "b"},
        {80, "c.example", "/", "b"},
        {80, "d.example", "/", ""},
        {80, "", "/", ""},
        {80, "www.a.example", "/", ""},
        {81, "a.example", "/", "A2"},
        {81, "b.example", "/", ""},
        {8000, "b.example", "/", "b"},
        {8002, "c.example", "/", "b"},
        {8003, "b.example", "/", ""},
        {7999, "b.example", "/", ""},
        {82, "whatever", "/", "any"},
        {82, "", "", "any"},
        {83, "x", "/", "named"},
        {83, "", "/", ""},
        {65535, "a.example", "/", ""},
        {0, "a.example", "/", ""},
    };

    check_answers(routes, questions);
}

/* A request's host has an IPv6 address in its one canonical form, whatever the client wrote. */
static void addresses_are_names_too(void)
{
    static const struct test_route routes[] = {
        {.name = "four", .domains = "192.0.2.1"},
        {.name = "six", .domains = "[2001:DB8:0::1]"},
        {.name = "bare", .domains = "2001:db8::2"},
        {.name = "longer", .domains = "::a0b:c0d"},
    };
    static const struct question questions[] = {
        {80, "192.0.2.1", "/", "four"},       {80, "2001:db8::1", "/", "six"},
        {80, "2001:db8::2", "/", "bare"},     {80, "2001:db8::3", "/", ""},
        {80, "::10.11.12.13", "/", "longer"},
    };

    check_answers(routes, questions);
}

static void nearer_names_win(void)
{
    static const struct test_route routes[] = {
        {.name = "all"},
        {.name = "star", .domains = "*"},
        {.name = "com", .domains = "*.com"},
        {.name = "example", .domains = "*.example.com"},
        {.name = "app-glob", .domains = "app-*.example.com"},
        {.name = "sub", .domains = "*.b.example.com"},
        {.name = "exact", .domains = "a.example.com"},
        {.name = "tail-glob", .domains = "www.*"},
        {.name = "two-stars", .domains = "*.s*.example.com"},
    };
    static const struct question questions[] = {
        {80, "a.example.com", "/", "exact"},
        {80, "x.example.com", "/", "example"},
        {80, "x.y.example.com", "/", "example"},
        {80, "x.b.example.com", "/", "sub"},
        {80, "b.example.com", "/", "example"},
        {80, "app-1.example.com", "/", "app-glob"},
        {80, "app-1.b.example.com", "/", "app-glob"}, /* 17 literal characters against 14 */
        {80, "example.com", "/", "com"},
        {80, "com", "/", "star"},
        {80, ".com", "/", "star"}, /* a star in front of a dot stands for something */
        {80, "www.test", "/", "tail-glob"},
        {80, "www.x.com", "/", "com"}, /* both have four literal characters: as declared */
        {80, "x.s1.example.com", "/", "two-stars"},
        {80, "localhost", "/", "star"},
        {80, "", "/", "all"},
    };

    check_answers(routes, questions);
}

static void longer_paths_win(void)
{
    static const struct test_route routes[] = {
        {.name = "root", .domains = "a.example"},
        {.name = "all", .domains = "a.example", .path = "/*"}, /* as good as no path: later */
        {.name = "api", .domains = "a.example", .path = "/api/*"},
        {.name = "v1", .domains = "a.example", .path = "/api/v1/"},
        {.name = "exact", .domains = "a.example", .path = "/api/v1/me"},
        {.name = "user", .domains = "a.example", .path = "/u/:id"},
        {.name = "everywhere", .path = "/.well-known/*"},
    };
    static const struct question questions[] = {
        {80, "a.example", "/", "root"},
        {80, "a.example", "/api", "root"},
        {80, "a.example", "/api/", "api"},
        {80, "a.example", "/api/v1/", "v1"},
        {80, "a.example", "/api/v1/me", "exact"},
        {80, "a.example", "/api/v1/me/too", "v1"},
        {80, "a.example", "/u/5", "user"},
        {80, "a.example", "/.well-known/x", "everywhere"}, /* the path comes before the name */
        {80, "b.example", "/.well-known/x", "everywhere"},
        {80, "b.example", "/", ""},
        {80, "a.example", "", "root"},
    };

    check_answers(routes, questions);
}

static void priority_comes_first_and_place_last(void)
{
    static const struct test_route routes[] = {
        {.name = "exact", .domains = "a.example", .path = "/x/y"},
        {.name = "first", .domains = "b.example"},
        {.name = "second", .domains = "b.example"},
        {.name = "strong", .domains = "*.example", .path = "/x/*", .priority = 1},
        {.name = "last-resort", .priority = -1000},
        {.name = "late", .domains = "c.example", .priority = -1001},
    };
    static const struct question questions[] = {
        {80, "a.example", "/x/y", "strong"},   {80, "a.example", "/", "last-resort"},
        {80, "b.example", "/", "first"},       {80, "b.example", "/x/", "strong"},
        {80, "c.example", "/", "last-resort"},
    };

    check_answers(routes, questions);
}

/* A stranger among the headers that the look-up asks for. */
static struct sl_str header_of(const void *message, struct sl_str name)
{
    return sl_str_ieq(name, SL_STR("x-tier")) ? *(const struct sl_str *)message : SL_STR_NONE;
}

static struct sl_route *find_with(const struct sl_snapshot *s, const char *client,
                                  struct sl_str tier)
{
    const struct sl_route_query q = {
        .port = 80,
        .transport = SL_TRANSPORT_TCP,
        .host = SL_STR("a.example"),
        .path = SL_STR("/"),
        .client_ip = client != NULL ? test_ip(client) : NULL,
        .header = header_of,
        .message = &tier,
    };

    return sl_snapshot_find(s, &q);
}

static void clients_and_headers_narrow_a_route(void)
{
    static const struct test_route routes[] = {
        {.name = "plain", .domains = "a.example"},
        {.name = "gold", .domains = "a.example", .header = "X-Tier", .header_value = "Gold"},
        {.name = "inside", .domains = "a.example", .client_ips = "10.0.0.0/8 2001:db8::/32"},
        {.name = "inside-gold",
         .domains = "a.example",
         .client_ips = "10.0.0.0/8",
         .header = "x-tier",
         .header_value = "gold"},
    };
    struct sl_snapshot *s = test_snapshot(routes, SL_COUNT(routes));

    sl_check_str(test_found(find_with(s, "192.0.2.1", SL_STR(""))), SL_STR("plain"));
    sl_check_str(test_found(find_with(s, "192.0.2.1", SL_STR("GOLD"))), SL_STR("gold"));
    sl_check_str(test_found(find_with(s, "192.0.2.1", SL_STR("golden"))), SL_STR("plain"));
    sl_check_str(test_found(find_with(s, "10.1.2.3", SL_STR(""))), SL_STR("inside"));
    sl_check_str(test_found(find_with(s, "::ffff:10.1.2.3", SL_STR("gold"))),
                 SL_STR("inside-gold"));
    sl_check_str(test_found(find_with(s, "2001:db8::1", SL_STR("gold"))), SL_STR("inside"));
    sl_check_str(test_found(find_with(s, NULL, SL_STR(""))), SL_STR("plain"));
    sl_check_str(test_found(test_find(s, 80, "a.example", "/")), SL_STR("plain")); /* no request */
    sl_snapshot_unref(s);
}

static void an_empty_value_also_matches_no_header(void)
{
    static const struct test_route routes[] = {
        {.name = "none", .header = "X-Tier", .header_value = ""}};
    struct sl_snapshot *s = test_snapshot(routes, 1);

    sl_check(find_with(s, "10.0.0.1", SL_STR_NONE) != NULL);
    sl_check(find_with(s, "10.0.0.1", SL_STR("")) != NULL);
    sl_check(find_with(s, "10.0.0.1", SL_STR("x")) == NULL);
    sl_snapshot_unref(s);
}

static struct sl_str found_over(const struct sl_snapshot *s, enum sl_transport transport)
{
    const struct sl_route_query q = {.port = 80, .transport = transport};

    return test_found(sl_snapshot_find(s, &q));
}

static void transports_are_kept_apart(void)
{
    static const struct test_route routes[] = {
        {.name = "tcp", .ports = "80"},
        {.name = "udp", .ports = "80", .transport = SL_TRANSPORT_UDP, .protocol = SL_PROTOCOL_TCP},
    };
    static const struct test_route both = {.name = "both", .transport = SL_TRANSPORT_ALL};
    struct sl_snapshot *s = test_snapshot(routes, 2);

    sl_check_str(found_over(s, SL_TRANSPORT_TCP), SL_STR("tcp"));
    sl_check_str(found_over(s, SL_TRANSPORT_UDP), SL_STR("udp"));
    sl_snapshot_unref(s);
    s = test_snapshot(&both, 1);
    sl_check_str(found_over(s, SL_TRANSPORT_TCP), SL_STR("both"));
    sl_check_str(found_over(s, SL_TRANSPORT_UDP), SL_STR("both"));
    sl_snapshot_unref(s);
}

static void the_nearest_name_decides_about_tls(void)
{
    static const struct test_route routes[] = {
        {.name = "plain", .domains = "p.example.com"},
        {.name = "any", .tls = SL_TLS_TERMINATE},
        {.name = "star", .domains = "*.example.com", .tls = SL_TLS_PASSTHROUGH, .priority = 100},
        {.name = "sub-path",
         .domains = "*.b.example.com",
         .tls = SL_TLS_TERMINATE,
         .path = "/api/*"},
        {.name = "exact", .domains = "a.example.com", .tls = SL_TLS_TERMINATE, .priority = -5},
        {.name = "exact-later",
         .domains = "a.example.com",
         .tls = SL_TLS_TERMINATE,
         .priority = -6},
        {.name = "glob", .domains = "app-*.b.example.com", .tls = SL_TLS_REENCRYPT},
        {.name = "quic",
         .domains = "q.example.com",
         .tls = SL_TLS_TERMINATE,
         .transport = SL_TRANSPORT_UDP},
        {.name = "inside",
         .domains = "i.example.com",
         .tls = SL_TLS_TERMINATE,
         .client_ips = "10.0.0.0/8"},
    };
    static const struct {
        const char *sni, *want;
        enum sl_transport transport;
        const char *client;
    } rows[] = {
        {"a.example.com", "exact", SL_TRANSPORT_TCP, "192.0.2.1"},
        {"x.example.com", "star", SL_TRANSPORT_TCP, "192.0.2.1"},
        {"p.example.com", "star", SL_TRANSPORT_TCP, "192.0.2.1"},
        {"x.b.example.com", "sub-path", SL_TRANSPORT_TCP, "192.0.2.1"},
        {"app-1.b.example.com", "glob", SL_TRANSPORT_TCP, "192.0.2.1"},
        {"q.example.com", "star", SL_TRANSPORT_TCP, "192.0.2.1"},
        {"q.example.com", "quic", SL_TRANSPORT_UDP, "192.0.2.1"},
        {"x.example.com", "", SL_TRANSPORT_UDP, "192.0.2.1"},
        {"i.example.com", "inside", SL_TRANSPORT_TCP, "10.0.0.1"},
        {"i.example.com", "star", SL_TRANSPORT_TCP, "192.0.2.1"},
        {"other.test", "any", SL_TRANSPORT_TCP, "192.0.2.1"},
        {"", "any", SL_TRANSPORT_TCP, "192.0.2.1"},
    };
    struct sl_snapshot *s = test_snapshot(routes, SL_COUNT(routes));

    for (size_t i = 0; i < SL_COUNT(rows); i++)
        sl_check_str(test_found(test_find_tls(s, 80, rows[i].transport, rows[i].sni,
                                              test_ip(rows[i].client))),
                     sl_str_c(rows[i].want));
    sl_check(test_find_tls(s, 81, SL_TRANSPORT_TCP, "a.example.com", NULL) == NULL);
    sl_snapshot_unref(s);
}

/* Ranges that overlap in every way, against what each port should find. */
static void overlapping_ranges_are_split(void)
{
    static const struct test_route routes[] = {
        {.name = "outer", .ports = "1-65535", .priority = -1},
        {.name = "middle", .ports = "1000-1999 1500-2500"},
        {.name = "inner", .ports = "1500", .priority = 1},
        {.name = "last", .ports = "65535", .priority = 1},
        {.name = "first", .ports = "1", .priority = 1},
    };
    static const struct question questions[] = {
        {1, "", "", "first"},     {2, "", "", "outer"},     {999, "", "", "outer"},
        {1000, "", "", "middle"}, {1499, "", "", "middle"}, {1500, "", "", "inner"},
        {1501, "", "", "middle"}, {2500, "", "", "middle"}, {2501, "", "", "outer"},
        {65534, "", "", "outer"}, {65535, "", "", "last"},  {0, "", "", ""},
    };

    check_answers(routes, questions);
}

enum { N_SINGLE_PORTS = 200 };

static const struct test_route wide_routes[] = {
    {.name = "wide", .ports = "900-1500"},
    {.name = "wide-host", .ports = "900-1500", .domains = "w.example", .priority = 2},
    {.name = "wide-suffix", .ports = "900-1500", .domains = "*.w.example", .priority = 2},
    {.name = "wide-glob", .ports = "900-1500", .domains = "app-*.test", .priority = 2},
    {.name = "wide-tls", .ports = "900-1500", .domains = "*.t.example", .tls = SL_TLS_TERMINATE},
    {.name = "elsewhere", .ports = "2000", .tls = SL_TLS_TERMINATE, .priority = 1},
    {.name = "any-tls", .ports = "1000", .tls = SL_TLS_TERMINATE, .priority = 3},
};

/* So many single ports that the routes above them go to the wide group. */
static struct sl_snapshot *make_wide_snapshot(void)
{
    static struct test_route routes[N_SINGLE_PORTS + SL_COUNT(wide_routes)];
    static char ports[N_SINGLE_PORTS][8];

    for (size_t i = 0; i < N_SINGLE_PORTS; i++) {
        snprintf(ports[i], sizeof(ports[i]), "%zu", 1001 + 2 * i);
        routes[i] = (struct test_route){.name = "single", .ports = ports[i], .priority = 1};
    }
    memcpy(routes + N_SINGLE_PORTS, wide_routes, sizeof(wide_routes));
    return test_snapshot(routes, SL_COUNT(routes));
}

static void wide_routes_are_found_among_many_ports(void)
{
    static const struct question questions[] = {
        {1001, "", "", "single"},
        {1003, "", "", "single"},
        {1399, "", "", "single"},
        {1002, "", "", "wide"},
        {900, "", "", "wide"},
        {1500, "", "", "wide"},
        {1501, "", "", ""},
        {899, "", "", ""},
        {899, "w.example", "", ""},
        {1001, "w.example", "", "wide-host"},
        {1002, "w.example", "", "wide-host"},
        {1003, "x.w.example", "", "wide-suffix"},
        {1003, "app-1.test", "", "wide-glob"},
        /* a port that is in use, but not by the wide routes */
        {2000, "w.example", "", "elsewhere"},
        {2000, "x.w.example", "", "elsewhere"},
        {2000, "app-1.test", "", "elsewhere"},
    };
    struct sl_snapshot *s = make_wide_snapshot();

    ask(s, questions, SL_COUNT(questions));
    sl_snapshot_unref(s);
}

static void a_wide_name_is_nearer_than_none(void)
{
    struct sl_snapshot *s = make_wide_snapshot();
    struct sl_route *named = test_find_tls(s, 1000, SL_TRANSPORT_TCP, "x.t.example", NULL);
    struct sl_route *other = test_find_tls(s, 1000, SL_TRANSPORT_TCP, "x.example", NULL);

    sl_check_str(test_found(named), SL_STR("wide-tls"));
    sl_check_str(test_found(other), SL_STR("any-tls"));
    sl_snapshot_unref(s);
}

static const char *const some_domains[] = {NULL, "*", "*.b", "*.a.b", "a.b"}; /* ever nearer */

/* The rules in plain words: a number that is highest for the route that should win, or -1 when it
 * does not match. */
static int slow_rank(const struct test_route *t, const char *host, const char *path, unsigned place)
{
    int nearness = 0;

    while (some_domains[nearness] != t->domains)
        nearness++;
    if (nearness > 0 &&
        (host[0] == '\0' || !sl_domain_matches(sl_str_c(t->domains), sl_str_c(host))))
        return -1;
    if (!sl_path_matches(sl_str_c(t->path), sl_str_c(path)))
        return -1;
    return ((t->priority + 1) * 100 + (t->path != NULL) * 10 + nearness) * 100 + 99 - (int)place;
}

static struct test_route random_route(const char *name)
{
    static uint32_t dice = 3;

    dice = dice * 1664525 + 1013904223;
    return (struct test_route){
        .name = name,
        .domains = some_domains[(dice >> 12) % SL_COUNT(some_domains)],
        .path = (dice >> 16) % 2 ? "/x*" : NULL,
        .priority = (int)((dice >> 18) % 3) - 1,
    };
}

static const char *slow_find(const struct test_route *routes, size_t n, const char *host,
                             const char *path)
{
    const char *found = "";
    int best = -1;

    for (unsigned i = 0; i < n; i++) {
        int rank = slow_rank(&routes[i], host, path, i);

        found = rank > best ? routes[i].name : found;
        best = SL_MAX(best, rank);
    }
    return found;
}

/* Many sets of few words, so that all kinds of routes meet. */
static void random_routes_agree_with_the_rules(void)
{
    static const char *const hosts[] = {"", "a.b", "x.a.b", "b", "x.b", "a.x.b", "c"};
    static const char *const names[] = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};
    struct test_route routes[SL_COUNT(names)];

    for (int round = 0; round < 2000; round++) {
        struct sl_snapshot *s;

        for (size_t i = 0; i < SL_COUNT(routes); i++)
            routes[i] = random_route(names[i]);
        s = test_snapshot(routes, SL_COUNT(routes));
        for (size_t h = 0; h < 2 * SL_COUNT(hosts); h++) {
            const char *host = hosts[h / 2], *path = h % 2 ? "/x" : "/y";

            sl_check_str(test_found(test_find(s, 80, host, path)),
                         sl_str_c(slow_find(routes, SL_COUNT(routes), host, path)));
        }
        sl_snapshot_unref(s);
    }
}

int main(void)
{
    nothing_is_found_in_nothing();
    routes_for_tunnels_are_for_tunnels();
    datagrams_find_their_own_routes();
    ports_and_hosts_lead_to_routes();
    addresses_are_names_too();
    nearer_names_win();
    longer_paths_win();
    priority_comes_first_and_place_last();
    clients_and_headers_narrow_a_route();
    an_empty_value_also_matches_no_header();
    transports_are_kept_apart();
    the_nearest_name_decides_about_tls();
    overlapping_ranges_are_split();
    wide_routes_are_found_among_many_ports();
    a_wide_name_is_nearer_than_none();
    random_routes_agree_with_the_rules();
    return sl_check_done();
}
