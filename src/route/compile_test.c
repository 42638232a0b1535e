#include "route/test_routes.h"

/* A spec in which nothing is wrong, for tests to break one thing of. */
static struct sl_port_range port = {80, 80};
static struct sl_target_spec target;
static struct sl_route_spec spec;

static void reset(void)
{
    port = (struct sl_port_range){80, 80};
    target = (struct sl_target_spec){.host = SL_STR("target"), .port = 1};
    spec = (struct sl_route_spec){
        .name = SL_STR("r"), .ports = &port, .n_ports = 1, .targets = &target, .n_targets = 1};
}

/* The sentence for the spec as it is now, and a fresh spec after that. */
static struct sl_str sentence(void)
{
    static struct sl_err err;
    struct sl_snapshot_builder *b = sl_snapshot_begin(NULL);
    int rc;

    err = (struct sl_err){0};
    rc = sl_snapshot_add(b, &spec, &err);
    sl_check(rc == 0 || rc == SL_E_CONFIG);
    sl_check(rc == err.code);
    sl_snapshot_abandon(b);
    reset();
    return sl_str_c(err.text);
}

#define check_says(text) sl_check_str(sentence(), SL_STR(text))

static void a_good_route_has_no_sentence(void)
{
    check_says("");
}

static void ports_are_checked(void)
{
    static const struct sl_port_range second[] = {{80, 80}, {0, 90}}, backwards = {90, 80};

    spec.n_ports = 0;
    check_says("match.ports: a route needs at least one port");
    port.from = port.to = 0;
    check_says("match.ports[0]: 0 is not a port (1 to 65535)");
    spec.ports = second;
    spec.n_ports = 2;
    check_says("match.ports[1]: 0 is not a port (1 to 65535)");
    spec.ports = &backwards;
    check_says("match.ports[0]: the range from 90 to 80 is empty; swap its ends");
    spec.transport = (enum sl_transport)4;
    check_says("match.transport: 4 is none (tcp, udp or all)");
}

static void domains_are_checked(void)
{
    static const struct {
        struct sl_str domain;
        const char *fault; /* NULL: fine */
    } rows[] = {
        {SL_STR("a.example"), NULL},
        {SL_STR("A-b_c.example."), NULL},
        {SL_STR("localhost"), NULL},
        {SL_STR("*.a.example"), NULL},
        {SL_STR("a-*.x*"), NULL},
        {SL_STR("*"), NULL},
        {SL_STR("10.0.0.1"), NULL},
        {SL_STR("[2001:db8::1]"), NULL},
        {SL_STR("xn--bcher-kva.example"), NULL},
        {SL_STR(""), "is empty"},
        {SL_STR("."), "is empty"},
        {SL_STR("a..b"), "has an empty label"},
        {SL_STR(".a"), "has an empty label"},
        {SL_STR("a/b"), "may hold letters, digits, \"-\", \"_\", \".\" and \"*\" only"},
        {SL_STR("a:80"), "may hold letters, digits, \"-\", \"_\", \".\" and \"*\" only"},
        {SL_STR("a b"), "may hold letters, digits, \"-\", \"_\", \".\" and \"*\" only"},
        {SL_STR("b\xc3\xbc"
                "cher.example"),
         "is not ASCII; write its xn-- form"},
    };

    for (size_t i = 0; i < SL_COUNT(rows); i++) {
        struct sl_str both[2] = {SL_STR("fine.example"), rows[i].domain}, got;

        spec.domains = both;
        spec.n_domains = 2;
        got = sentence();
        sl_check(sl_str_ends(got, sl_str_c(rows[i].fault != NULL ? rows[i].fault : "")));
        sl_check(rows[i].fault != NULL ? sl_str_starts(got, SL_STR("match.domains[1]: \""))
                                       : got.len == 0);
    }
}

static void names_are_bounded(void)
{
    char name[254];
    struct sl_str domain = sl_str(name, sizeof(name));

    memset(name, 'a', sizeof(name));
    spec.domains = &domain;
    spec.n_domains = 1;
    sl_check(sl_str_ends(sentence(), SL_STR("aaa\" is longer than 253 characters")));
    domain.len--;
    spec.domains = &domain;
    spec.n_domains = 1;
    check_says("");
}

static void paths_are_checked(void)
{
    char longest[SL_MAX_PATH_PATTERN + 1];

    spec.path = SL_STR("api");
    check_says("match.path: \"api\" must begin with \"/\"");
    spec.path = SL_STR("/a?b=1");
    check_says("match.path: \"/a?b=1\" has a query, which is not matched; end it before the \"?\" "
               "or \"#\"");
    spec.path = SL_STR("/a b");
    check_says("match.path: must not hold spaces or control characters");
    spec.path = SL_STR("/a\r\n");
    check_says("match.path: must not hold spaces or control characters");
    memset(longest, '/', sizeof(longest));
    spec.path = sl_str(longest, sizeof(longest));
    check_says("match.path: is longer than 1024 characters");
    spec.path = SL_STR("/api");
    spec.tls = SL_TLS_PASSTHROUGH;
    check_says("match.path: this route passes bytes on and never sees a path; leave it out");
    spec.path = SL_STR("/api");
    spec.protocol = SL_PROTOCOL_TCP;
    check_says("match.path: this route passes bytes on and never sees a path; leave it out");
}

static void other_criteria_are_checked(void)
{
    const struct sl_header_match header = {SL_STR("x y"), SL_STR("")},
                                 fine = {SL_STR("x"), SL_STR("")};
    const struct sl_str ip = SL_STR("10.0.0.300");

    spec.headers = &header;
    spec.n_headers = 1;
    check_says("match.headers[0]: \"x y\" is not a header name");
    spec.headers = &fine;
    spec.n_headers = 1;
    spec.tls = SL_TLS_PASSTHROUGH;
    check_says("match.headers: this route passes bytes on and never sees headers; leave them out");
    spec.client_ips = &ip;
    spec.n_client_ips = 1;
    sl_check(
        sl_str_starts(sentence(), SL_STR("match.clientIp[0]: \"10.0.0.300\" is not an address")));
}

static void targets_are_checked(void)
{
    const struct sl_str method = SL_STR("GET ");
    static struct sl_target_spec many[SL_MAX_TARGETS + 1];

    spec.n_targets = 0;
    check_says("action.targets: a forward route needs at least one target");
    for (size_t i = 0; i < SL_COUNT(many); i++)
        many[i] = target;
    spec.targets = many;
    spec.n_targets = SL_COUNT(many);
    check_says("action.targets: 1025 targets are more than a route can have (1024)");
    target.host = SL_STR("");
    check_says("action.targets[0].host: is missing");
    many[1].host = SL_STR("a b");
    spec.targets = many;
    spec.n_targets = 2;
    check_says(
        "action.targets[1].host: \"a b\" may hold letters, digits, \"-\", \"_\" and \".\" only");
    target.host = SL_STR("*.example");
    check_says("action.targets[0].host: \"*.example\" may hold letters, digits, \"-\", \"_\" and "
               "\".\" only");
    target.unix_path = SL_STR("/run/x");
    check_says("action.targets[0].host: a target has a host, a Unix path or a tunnel, and only one "
               "of them");
    target.host = SL_STR_NONE;
    target.unix_path = SL_STR("run/x");
    check_says("action.targets[0].unix: must be an absolute path");
    target.weight = 65536;
    check_says("action.targets[0].weight: 65536 is too much (1 to 65535)");
    target.methods = &method;
    target.n_methods = 1;
    check_says("action.targets[0].match.method[0]: \"GET \" is not a method");
    target.path = SL_STR("x");
    check_says("action.targets[0].match.path: \"x\" must begin with \"/\"");
    spec.send_proxy = 3;
    check_says("action.sendProxyProtocol: there is no version 3 (1 or 2)");
}

/* What goes into a tunnel or a datagram has no requests that one could look at. */
static void tunnels_and_datagrams_are_checked(void)
{
    static char long_name[254];

    memset(long_name, 'x', sizeof(long_name));
    target = (struct sl_target_spec){.tunnel = SL_STR("main")};
    check_says("action.targets[0].tunnel: takes bytes as they come, not requests (match.protocol "
               "tcp)");
    target = (struct sl_target_spec){.tunnel = SL_STR("main"), .tls = true};
    spec.protocol = SL_PROTOCOL_TCP;
    check_says("action.targets[0].tunnel: takes bytes as they come, not requests (match.protocol "
               "tcp)");
    target = (struct sl_target_spec){.tunnel = sl_str(long_name, sizeof(long_name))};
    spec.protocol = SL_PROTOCOL_TCP;
    check_says("action.targets[0].tunnel: is longer than 253 characters");
    target = (struct sl_target_spec){.unix_path = SL_STR("/run/x")};
    spec.protocol = SL_PROTOCOL_TCP;
    spec.transport = SL_TRANSPORT_ALL;
    check_says("action.targets[0].unix: datagrams do not go to Unix sockets");
}

static void actions_are_checked(void)
{
    spec.action = SL_ACTION_REDIRECT;
    check_says("action.location: a redirect needs a location");
    spec.action = SL_ACTION_REDIRECT;
    spec.location = SL_STR("https://{domain}{path}");
    spec.status = 200;
    check_says("action.status: 200 does not redirect (301, 302, 303, 307 or 308)");
    spec.action = SL_ACTION_REDIRECT;
    spec.location = SL_STR("/a\r\nx: y");
    check_says("action.location: must not hold control characters");
    spec.action = SL_ACTION_REPLY;
    spec.status = 101;
    check_says("action.status: 101 is not a final status (200 to 599)");
    spec.action = SL_ACTION_REPLY;
    spec.content_type = SL_STR("text/plain\n");
    check_says("action.contentType: must not hold control characters");
    spec.action = SL_ACTION_REPLY;
    spec.tls = SL_TLS_PASSTHROUGH;
    check_says("action.type: a route that passes bytes on can only forward");
}

static void headers_are_checked(void)
{
    static const struct {
        struct sl_str name, value;
        const char *want;
    } rows[] = {
        {SL_STR("x-a"), SL_STR("tab\tand \xc3\xbc {domain}"), ""},
        {SL_STR("x-a"), SL_STR_NONE, ""},
        {SL_STR("!#$%&'*+-.^_`|~09azAZ"), SL_STR(""), ""},
        {SL_STR(""), SL_STR("v"), "headers.response[0]: \"\" is not a header name"},
        {SL_STR("x:"), SL_STR("v"), "headers.response[0]: \"x:\" is not a header name"},
        {SL_STR("\xc3\xbc"), SL_STR("v"), "headers.response[0]: \"\xc3\xbc\" is not a header name"},
        {SL_STR("x"), SL_STR("a\r\nb"),
         "headers.response[0]: the value of \"x\" must not hold control characters"},
        {SL_STR("x"), SL_STR("a\nb"),
         "headers.response[0]: the value of \"x\" must not hold control characters"},
        {SL_STR("x"), SL_STR("a\0b"),
         "headers.response[0]: the value of \"x\" must not hold control characters"},
    };

    for (size_t i = 0; i < SL_COUNT(rows); i++) {
        struct sl_header_spec edit = {rows[i].name, rows[i].value};

        spec.response_headers = &edit;
        spec.n_response_headers = 1;
        sl_check_str(sentence(), sl_str_c(rows[i].want));
    }
    spec.request_headers = &(struct sl_header_spec){SL_STR("a b"), SL_STR("")};
    spec.n_request_headers = 1;
    check_says("headers.request[0]: \"a b\" is not a header name");
}

static void security_is_checked(void)
{
    const struct sl_str bad_ip = SL_STR("x");
    static char password[512];
    struct sl_user_spec user = {SL_STR("a:b"), SL_STR("c")};

    spec.allow = &bad_ip;
    spec.n_allow = 1;
    sl_check(sl_str_starts(sentence(), SL_STR("security.ipAllowList[0]: \"x\" is not")));
    spec.block = &bad_ip;
    spec.n_block = 1;
    sl_check(sl_str_starts(sentence(), SL_STR("security.ipBlockList[0]: \"x\" is not")));
    spec.users = &user;
    spec.n_users = 1;
    check_says("security.basicAuth.users[0].username: \"a:b\" must not hold a \":\"");
    user.name = SL_STR("");
    spec.users = &user;
    spec.n_users = 1;
    check_says("security.basicAuth.users[0].username: is empty");
    memset(password, 'x', sizeof(password));
    user = (struct sl_user_spec){SL_STR("a"), sl_str(password, 511)};
    spec.users = &user;
    spec.n_users = 1;
    check_says(
        "security.basicAuth.users[0].username, password: longer than 511 characters together");
    user.password.len = 510;
    spec.users = &user;
    spec.n_users = 1;
    check_says("");
    spec.users = &user;
    spec.n_users = 1;
    spec.tls = SL_TLS_PASSTHROUGH;
    check_says("security.basicAuth: this route passes bytes on and cannot ask for a password");
    spec.realm = SL_STR("a\"b");
    check_says("security.basicAuth.realm: must not hold quotes or backslashes");
}

static unsigned n_released;

static void release(void *tls_data)
{
    n_released += tls_data == &port;
}

static void tls_data_goes_to_the_route_on_success_only(void)
{
    struct sl_snapshot_builder *b = sl_snapshot_begin(NULL);
    const struct sl_str bad_ip = SL_STR("x");

    spec.tls = SL_TLS_TERMINATE;
    spec.tls_data = &port;
    spec.release_tls = release;
    spec.block = &bad_ip;
    spec.n_block = 1; /* fails late, when the route is nearly done */
    sl_check(sl_snapshot_add(b, &spec, NULL) == SL_E_CONFIG);
    sl_check(n_released == 0);
    spec.n_block = 0;
    sl_check(sl_snapshot_add(b, &spec, NULL) == 0);
    sl_check(n_released == 0);
    sl_snapshot_abandon(b);
    sl_check(n_released == 1);
    reset();
}

/* A route with everything in it, made from texts that are gone when it is read. */
static struct sl_snapshot *make_full_route(void)
{
    char text[] = "host.example/path value";
    struct sl_str host = sl_str(text, 12), path = sl_str(text + 12, 5),
                  value = sl_str(text + 18, 5);
    struct sl_header_spec edits[] = {{value, value}, {value, SL_STR_NONE}, {value, SL_STR("")}};
    struct sl_target_spec targets[] = {
        {.host = SL_STR("[2001:DB8::1]"), .port = 0, .tls = true, .tls_verify = true, .weight = 3},
        {.host = SL_STR("LOW"), .port = 2, .priority = -1, .tls_verify = true},
        {.unix_path = path, .priority = 5, .port = 9},
        {.host = host, .port = 4, .priority = 5, .path = path, .methods = &value, .n_methods = 1},
    };
    const struct sl_str allow[] = {SL_STR("10.0.0.0/8"), SL_STR("2001:db8::/32")};
    const struct sl_str block[] = {SL_STR("10.0.0.1")};
    struct sl_snapshot_builder *b = sl_snapshot_begin(NULL);

    spec.allow = allow;
    spec.n_allow = 2;
    spec.block = block;
    spec.n_block = 1;
    spec.domains = &host;
    spec.n_domains = 1;
    spec.path = path;
    spec.targets = targets;
    spec.n_targets = SL_COUNT(targets);
    spec.request_headers = edits;
    spec.n_request_headers = SL_COUNT(edits);
    spec.realm = spec.location = spec.body = spec.content_type = value;
    spec.max_connections = 7;
    sl_check(sl_snapshot_add(b, &spec, NULL) == 0);
    memset(text, '?', sizeof(text));
    reset();
    return sl_snapshot_finish(b);
}

static void a_compiled_route_has_copies(void)
{
    struct sl_snapshot *s = make_full_route();
    struct sl_route *r = test_find(s, 80, "host.example", "/path");

    sl_check(r != NULL && r->n_targets == 4 && r->has_path && r->has_sub_match);
    sl_check(sl_access_allows(&r->access, test_ip("10.0.0.2")));
    sl_check(!sl_access_allows(&r->access, test_ip("10.0.0.1")));
    sl_check(!sl_access_allows(&r->access, test_ip("192.0.2.1")));
    sl_check(r->max_connections == 7 && r->transport == SL_TRANSPORT_TCP && r->status == 200);
    sl_check_str(r->body, SL_STR("value"));
    sl_check_str(r->content_type, SL_STR("value"));
    sl_check_str(r->location, SL_STR("value"));
    sl_check_str(r->realm, SL_STR("value"));
    sl_check(r->n_request_headers == 3);
    sl_check_str(r->request_headers[0].value, SL_STR("value"));
    sl_check(r->request_headers[1].value.p == NULL);
    sl_check(r->request_headers[2].value.p != NULL && r->request_headers[2].value.len == 0);
    sl_snapshot_unref(s);
}

static void targets_are_normalized_and_sorted(void)
{
    struct sl_snapshot *s = make_full_route();
    struct sl_route *r = test_find(s, 80, "host.example", "/path");
    const struct sl_target *t = r->targets;

    sl_check_str(t[0].unix_path, SL_STR("/path"));
    sl_check(t[0].port == 0 && t[0].host.len == 0 && t[0].priority == 5 && t[0].weight == 1);
    sl_check_str(t[1].host, SL_STR("host.example"));
    sl_check_str(t[2].host, SL_STR("2001:db8::1"));
    sl_check(t[2].tls && t[2].tls_verify && t[2].weight == 3 && t[2].port == 0);
    sl_check_str(t[3].host, SL_STR("low"));
    sl_check(!t[3].tls && !t[3].tls_verify); /* nothing to verify without TLS */
    for (size_t i = 0; i < r->n_targets; i++)
        sl_check(t[i].route == r && t[i].id != 0);
    sl_snapshot_unref(s);
}

static void long_texts_fit_too(void)
{
    enum { N = 500 };
    static char body[100000];
    static struct sl_str domains[N];
    static char names[N][16];
    const struct sl_str method = sl_str(body, 90000); /* more than was guessed for a method */
    struct sl_snapshot_builder *b = sl_snapshot_begin(NULL);
    struct sl_snapshot *s;

    memset(body, 'b', sizeof(body));
    for (size_t i = 0; i < N; i++)
        domains[i] =
            sl_str(names[i], (size_t)snprintf(names[i], sizeof(names[i]), "%zu.example", i));
    spec.body = sl_str(body, sizeof(body));
    target.methods = &method;
    target.n_methods = 1;
    spec.domains = domains;
    spec.n_domains = N;
    sl_check(sl_snapshot_add(b, &spec, NULL) == 0);
    reset();
    s = sl_snapshot_finish(b);
    for (size_t i = 0; i < N; i++)
        sl_check(test_find(s, 80, names[i], "/") != NULL);
    sl_check(sl_snapshot_by_name(s, SL_STR("r"))->body.len == sizeof(body));
    sl_snapshot_unref(s);
}

static void statuses_have_defaults(void)
{
    struct sl_snapshot_builder *b = sl_snapshot_begin(NULL);
    struct sl_snapshot *s;

    spec.action = SL_ACTION_REDIRECT;
    spec.location = SL_STR("/");
    spec.name = SL_STR("redirect");
    sl_check(sl_snapshot_add(b, &spec, NULL) == 0);
    reset();
    spec.action = SL_ACTION_REPLY;
    spec.name = SL_STR("reply");
    sl_check(sl_snapshot_add(b, &spec, NULL) == 0);
    reset();
    s = sl_snapshot_finish(b);
    sl_check(sl_snapshot_by_name(s, SL_STR("redirect"))->status == 301);
    sl_check(sl_snapshot_by_name(s, SL_STR("reply"))->status == 200);
    sl_check(sl_snapshot_by_name(s, SL_STR("reply"))->n_targets == 0);
    sl_snapshot_unref(s);
}

int main(void)
{
    reset();
    a_good_route_has_no_sentence();
    ports_are_checked();
    domains_are_checked();
    names_are_bounded();
    paths_are_checked();
    other_criteria_are_checked();
    targets_are_checked();
    tunnels_and_datagrams_are_checked();
    actions_are_checked();
    headers_are_checked();
    security_is_checked();
    tls_data_goes_to_the_route_on_success_only();
    a_compiled_route_has_copies();
    targets_are_normalized_and_sorted();
    long_texts_fit_too();
    statuses_have_defaults();
    return sl_check_done();
}
