#include <math.h>
#include "route/test_routes.h"

enum { MAX_TARGETS = 12 };

/* One route whose targets are called "0", "1", …; `spec` says the rest of them. */
static struct sl_snapshot *make(enum sl_balance balance, const struct sl_target_spec *spec,
                                size_t n)
{
    static const char names[] = "0123456789ab";
    const struct sl_port_range port = {80, 80};
    struct sl_target_spec targets[MAX_TARGETS];
    const struct sl_route_spec route = {
        .ports = &port, .n_ports = 1, .targets = targets, .n_targets = n, .balance = balance};
    struct sl_snapshot_builder *b = sl_snapshot_begin(NULL);

    for (size_t i = 0; i < n; i++) {
        targets[i] = spec[i];
        targets[i].host = sl_str(&names[i], 1);
        targets[i].port = 1;
    }
    sl_check(sl_snapshot_add(b, &route, NULL) == 0);
    return sl_snapshot_finish(b);
}

static struct sl_route *route_of(const struct sl_snapshot *s)
{
    return test_find(s, 80, "", "");
}

/* The names of the picks, in order: "021". */
static struct sl_str pick(struct sl_route *r, const char *method, const char *path,
                          const char *client, uint64_t now_ms)
{
    static char names[SL_MAX_PICKS];
    const struct sl_target *out[SL_MAX_PICKS];
    size_t n = sl_route_pick(r, sl_str_c(method), sl_str_c(path),
                             client != NULL ? test_ip(client) : NULL, now_ms, out);

    sl_check(n <= SL_MAX_PICKS);
    for (size_t i = 0; i < n; i++)
        names[i] = out[i]->host.p[0];
    return sl_str(names, n);
}

static char first(struct sl_route *r)
{
    struct sl_str names = pick(r, "GET", "/", NULL, 0);

    return names.len > 0 ? names.p[0] : '-';
}

static struct sl_target *target(struct sl_route *r, char name)
{
    for (size_t i = 0; i < r->n_targets; i++) {
        if (r->targets[i].host.p[0] == name)
            return &r->targets[i];
    }
    return NULL;
}

/* The first picks of `n` requests as one text. */
static struct sl_str firsts(struct sl_route *r, size_t n)
{
    static char names[64];

    sl_assert(n <= sizeof(names));
    for (size_t i = 0; i < n; i++)
        names[i] = first(r);
    return sl_str(names, n);
}

static void equal_targets_take_turns(void)
{
    static const struct sl_target_spec three[3];
    struct sl_snapshot *s = make(SL_BALANCE_ROUND_ROBIN, three, 3);
    struct sl_route *r = route_of(s);

    sl_check_str(firsts(r, 9), SL_STR("012012012"));
    sl_check_str(pick(r, "GET", "/", NULL, 0), SL_STR("021"));
    sl_check_str(pick(r, "GET", "/", NULL, 0), SL_STR("102")); /* fallbacks take turns, too */
    sl_snapshot_unref(s);
}

static void weights_are_honoured_without_long_runs(void)
{
    static const struct sl_target_spec weights[] = {{.weight = 3}, {.weight = 1}, {.weight = 2}};
    static const struct sl_target_spec heavy[] = {
        {.weight = 65535}, {.weight = 1}, {.weight = 65535}};
    struct sl_snapshot *s = make(SL_BALANCE_ROUND_ROBIN, weights, 3);
    unsigned n[3] = {0};

    sl_check_str(firsts(route_of(s), 12), SL_STR("012020012020"));
    sl_snapshot_unref(s);
    s = make(SL_BALANCE_ROUND_ROBIN, heavy, 3);
    for (int i = 0; i < 131071; i++)
        n[first(route_of(s)) - '0']++;
    sl_check(n[0] == 65535 && n[1] == 1 && n[2] == 65535);
    sl_snapshot_unref(s);
}

static void the_turn_survives_its_overflow(void)
{
    static const struct sl_target_spec two[2];
    struct sl_snapshot *s = make(SL_BALANCE_ROUND_ROBIN, two, 2);

    route_of(s)->next_target = UINT32_MAX - 1;
    sl_check_str(firsts(route_of(s), 4), SL_STR("0101"));
    sl_snapshot_unref(s);
}

static void higher_priority_comes_first(void)
{
    static const struct sl_target_spec tiers[] = {
        {.priority = 1}, {.priority = 2}, {.priority = 1}, {.priority = 2}, {.priority = -1}};
    struct sl_snapshot *s = make(SL_BALANCE_ROUND_ROBIN, tiers, 5);
    struct sl_route *r = route_of(s);

    sl_check_str(pick(r, "GET", "/", NULL, 0), SL_STR("13024"));
    sl_check_str(pick(r, "GET", "/", NULL, 0), SL_STR("31204"));
    sl_snapshot_unref(s);
}

static void picks_are_bounded(void)
{
    static const struct sl_target_spec many[MAX_TARGETS];
    struct sl_snapshot *s = make(SL_BALANCE_ROUND_ROBIN, many, MAX_TARGETS);
    bool seen[256] = {false};
    struct sl_str names = pick(route_of(s), "GET", "/", NULL, 0);

    sl_check(names.len == SL_MAX_PICKS);
    for (size_t i = 0; i < names.len; i++) {
        sl_check(!seen[(unsigned char)names.p[i]]);
        seen[(unsigned char)names.p[i]] = true;
    }
    for (int i = 0; i < 100; i++)
        seen[(unsigned char)first(route_of(s))] = true;
    for (char c = '0'; c <= '9'; c++)
        sl_check(seen[(unsigned char)c]); /* those beyond the bound get their turn, too */
    sl_snapshot_unref(s);
}

static void failed_targets_come_last_for_a_while(void)
{
    static const struct sl_target_spec tiers[] = {
        {.priority = 1}, {.priority = 1}, {.priority = 0}};
    struct sl_snapshot *s = make(SL_BALANCE_ROUND_ROBIN, tiers, 3);
    struct sl_route *r = route_of(s);

    sl_target_failed(target(r, '0'), 1000);
    for (int i = 0; i < 4; i++)
        sl_check_str(pick(r, "GET", "/", NULL, 1000), SL_STR("120"));
    sl_check_str(pick(r, "GET", "/", NULL, 2999), SL_STR("120"));
    sl_check(pick(r, "GET", "/", NULL, 3000).p[2] == '2');
    sl_target_failed(target(r, '1'), 1000);
    sl_check(pick(r, "GET", "/", NULL, 1000).p[0] == '2');
    sl_target_failed(target(r, '2'), 1000); /* all of them: better one of these than none */
    sl_check(pick(r, "GET", "/", NULL, 1000).len == 3);
    sl_check(pick(r, "GET", "/", NULL, 1000).p[2] == '2');
    sl_target_ok(target(r, '0'));
    sl_check_str(pick(r, "GET", "/", NULL, 1000), SL_STR("012"));
    sl_snapshot_unref(s);
}

static void the_rest_shares_the_load_of_a_failed_one(void)
{
    static const struct sl_target_spec four[4];
    struct sl_snapshot *s = make(SL_BALANCE_ROUND_ROBIN, four, 4);
    struct sl_route *r = route_of(s);
    unsigned n[4] = {0};

    sl_target_failed(target(r, '1'), 0);
    for (int i = 0; i < 300; i++)
        n[first(r) - '0']++;
    sl_check(n[0] == 100 && n[1] == 0 && n[2] == 100 && n[3] == 100);
    sl_snapshot_unref(s);
}

static void the_least_busy_is_picked(void)
{
    static const struct sl_target_spec targets[] = {{.weight = 1}, {.weight = 2}, {.weight = 1}};
    struct sl_snapshot *s = make(SL_BALANCE_LEAST_CONNECTIONS, targets, 3);
    struct sl_route *r = route_of(s);
    unsigned n[3] = {0};

    for (int i = 0; i < 400; i++) {
        char name = first(r);

        n[name - '0']++;
        sl_target_begin(target(r, name));
    }
    sl_check(n[0] == 100 && n[1] == 200 && n[2] == 100);
    sl_check(sl_target_active(target(r, '1')) == 200);
    while (sl_target_active(target(r, '2')) > 0)
        sl_target_end(target(r, '2'));
    sl_check_str(firsts(r, 5), SL_STR("22222"));
    sl_check_str(pick(r, "GET", "/", NULL, 0), SL_STR("210")); /* 1, 201 / 2 and 101 / 1 */
    for (size_t i = 0; i < r->n_targets; i++) {
        while (sl_target_active(&r->targets[i]) > 0)
            sl_target_end(&r->targets[i]);
    }
    sl_snapshot_unref(s);
}

static void idle_targets_take_turns(void)
{
    static const struct sl_target_spec three[3];
    struct sl_snapshot *s = make(SL_BALANCE_LEAST_CONNECTIONS, three, 3);

    sl_check_str(firsts(route_of(s), 6), SL_STR("012012"));
    sl_snapshot_unref(s);
}

static const char *client(unsigned i)
{
    static char text[32];

    snprintf(text, sizeof(text), "10.%u.%u.%u", i >> 16 & 255, i >> 8 & 255, i & 255);
    return text;
}

enum { N_CLIENTS = 20000 };

static void clients_stay_with_their_target(void)
{
    static const struct sl_target_spec targets[] = {
        {.weight = 1}, {.weight = 1}, {.weight = 2}, {.weight = 1}};
    struct sl_snapshot *all = make(SL_BALANCE_IP_HASH, targets, 4);
    struct sl_snapshot *fewer = make(SL_BALANCE_IP_HASH, targets, 3);
    unsigned n[4] = {0}, n_moved = 0;

    for (unsigned i = 0; i < N_CLIENTS; i++) {
        char before = pick(route_of(all), "GET", "/", client(i), 0).p[0];
        char again = pick(route_of(all), "GET", "/", client(i), 0).p[0];
        char after = pick(route_of(fewer), "GET", "/", client(i), 0).p[0];

        n[before - '0']++;
        sl_check(again == before);
        n_moved += before != after && before != '3';
    }
    sl_check(n_moved == 0); /* only the clients of the target that went have another */
    for (size_t i = 0; i < 4; i++)
        sl_check(fabs(n[i] * 5.0 / N_CLIENTS / (i == 2 ? 2 : 1) - 1) < 0.05);
    sl_snapshot_unref(all);
    sl_snapshot_unref(fewer);
}

/* The fallback of a client is where it would go without its first target. */
static void fallbacks_are_consistent_too(void)
{
    static const struct sl_target_spec three[3];
    struct sl_snapshot *s = make(SL_BALANCE_IP_HASH, three, 3);
    struct sl_route *r = route_of(s);

    for (unsigned i = 0; i < 100; i++) {
        struct sl_str names = pick(r, "GET", "/", client(i), 0);
        char a = names.p[0], b = names.p[1];

        sl_check(names.len == 3);
        sl_target_failed(target(r, a), 0);
        sl_check(pick(r, "GET", "/", client(i), 0).p[0] == b);
        sl_target_ok(target(r, a));
    }
    sl_snapshot_unref(s);
}

static void a_client_of_ipv6_is_its_network(void)
{
    static const struct sl_target_spec many[MAX_TARGETS];
    struct sl_snapshot *s = make(SL_BALANCE_IP_HASH, many, MAX_TARGETS);
    struct sl_route *r = route_of(s);
    char here = pick(r, "GET", "/", "2001:db8:0:1::1", 0).p[0];
    unsigned n_elsewhere = 0;

    sl_check(pick(r, "GET", "/", "2001:db8:0:1:ffff::2", 0).p[0] == here);
    for (unsigned i = 2; i < 50; i++) {
        char text[32];

        snprintf(text, sizeof(text), "2001:db8:0:%x::1", i);
        n_elsewhere += pick(r, "GET", "/", text, 0).p[0] != here;
    }
    sl_check(n_elsewhere > 30);
    sl_snapshot_unref(s);
}

static void sub_matches_narrow_the_choice(void)
{
    static const struct sl_str writes[] = {SL_STR("POST"), SL_STR("PUT")};
    static const struct sl_target_spec targets[] = {
        {.priority = 9},
        {.path = SL_STR("/api/*")},
        {.path = SL_STR("/api/v2/*"), .priority = 1},
        {.methods = writes, .n_methods = 2, .priority = 2},
        {.path = SL_STR("/api/*"), .methods = writes, .n_methods = 1, .priority = 3},
    };
    static const struct {
        const char *method, *path, *want;
    } rows[] = {
        {"GET", "/", "0"},  {"GET", "/api/x", "1"},  {"GET", "/api/v2/x", "21"},
        {"PUT", "/", "3"},  {"PUT", "/api/x", "31"}, {"POST", "/api/v2/x", "4321"},
        {"post", "/", "0"}, {"", "", "0"},
    };
    struct sl_snapshot *s = make(SL_BALANCE_ROUND_ROBIN, targets, SL_COUNT(targets));

    for (size_t i = 0; i < SL_COUNT(rows); i++)
        sl_check_str(pick(route_of(s), rows[i].method, rows[i].path, NULL, 0),
                     sl_str_c(rows[i].want));
    sl_snapshot_unref(s);
}

static void there_may_be_no_target_for_a_request(void)
{
    static const struct sl_target_spec one[] = {{.path = SL_STR("/api/*")}};
    struct sl_snapshot *s = make(SL_BALANCE_ROUND_ROBIN, one, 1);

    sl_check(pick(route_of(s), "GET", "/", NULL, 0).len == 0);
    sl_check_str(pick(route_of(s), "GET", "/api/", NULL, 0), SL_STR("0"));
    sl_snapshot_unref(s);
}

static void one_target_is_picked_whatever_happened(void)
{
    static const struct sl_target_spec one[1];
    struct sl_snapshot *s = make(SL_BALANCE_IP_HASH, one, 1);

    sl_target_failed(route_of(s)->targets, 0);
    sl_check_str(pick(route_of(s), "GET", "/", NULL, 0), SL_STR("0"));
    sl_snapshot_unref(s);
}

/* A tunnel that failed comes last for a while, in every route that leads into it. */
static void tunnels_are_targets_like_others(void)
{
    static const struct test_route routes[] = {
        {.name = "a", .ports = "1", .protocol = SL_PROTOCOL_TCP, .tunnel = "main"},
        {.name = "b", .ports = "2", .protocol = SL_PROTOCOL_TCP, .tunnel = "main"},
    };
    struct sl_snapshot *s = test_snapshot(routes, SL_COUNT(routes));
    struct sl_route *a = test_find(s, 1, "", ""), *b = test_find(s, 2, "", "");
    const struct sl_target *picks[SL_MAX_PICKS];
    size_t n_first = 0;

    for (int i = 0; i < 4; i++) {
        sl_check(sl_route_pick(a, SL_STR(""), SL_STR(""), NULL, 1000, picks) == 2);
        n_first += picks[0]->tunnel.len > 0;
    }
    sl_check(n_first == 2);
    sl_target_failed(&a->targets[1], 1000);
    for (int i = 0; i < 4; i++) {
        sl_check(sl_route_pick(b, SL_STR(""), SL_STR(""), NULL, 1000, picks) == 2);
        sl_check_str(picks[1]->tunnel, SL_STR("main"));
    }
    sl_snapshot_unref(s);
}

int main(void)
{
    tunnels_are_targets_like_others();
    equal_targets_take_turns();
    weights_are_honoured_without_long_runs();
    the_turn_survives_its_overflow();
    higher_priority_comes_first();
    picks_are_bounded();
    failed_targets_come_last_for_a_while();
    the_rest_shares_the_load_of_a_failed_one();
    the_least_busy_is_picked();
    idle_targets_take_turns();
    clients_stay_with_their_target();
    fallbacks_are_consistent_too();
    a_client_of_ipv6_is_its_network();
    sub_matches_narrow_the_choice();
    there_may_be_no_target_for_a_request();
    one_target_is_picked_whatever_happened();
    return sl_check_done();
}
