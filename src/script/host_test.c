/* Hooks: what the handles say, what the verbs become, and what happens when a script is wrong. */
#include "script/test_script.h"

/* In place of proxy/body.c. */
static void (*body_done)(struct sl_hook_slot *slot, int code, struct sl_str body);
static size_t body_max;

void sl_hook_collect_body(struct sl_hook_slot *slot, size_t max,
                          void (*done)(struct sl_hook_slot *slot, int code, struct sl_str body))
{
    (void)slot;
    body_done = done;
    body_max = max;
}

void sl_hook_stream_body(struct sl_hook_slot *slot,
                         void (*on_bytes)(struct sl_hook_slot *slot, const uint8_t *bytes,
                                          size_t len, bool fin))
{
    (void)slot;
    (void)on_bytes;
}

/* Runs on_request with this body on the usual request; the script and the exchange are left for
 * looking at. */
static struct sl_script *script;
static struct test_exchange t;
static struct sl_verdict v;

static int run(const char *body)
{
    char text[4096];

    snprintf(
        text, sizeof(text),
        "local sluice = require 'sluice' local p = {}\nfunction p.on_request(req) %s end\nreturn p",
        body);
    script = test_load(text);
    test_exchange_init(&t);
    return test_on_request(&t, script, &v);
}

static void done(void)
{
    test_exchange_clear(&t, script);
    sl_script_free(script);
}

/* What the code asserts holds. */
static void check_lua(const char *body)
{
    sl_check(run(body) == 0);
    if (v.kind != SL_VERDICT_NONE)
        fprintf(stderr, "in: %s\n", body);
    sl_check(v.kind == SL_VERDICT_NONE);
    done();
}

static void test_reading(void)
{
    check_lua("assert(req:method() == 'GET' and req:path() == '/a/b' and req:query() == 'c=d' and "
              "req:target() == '/a/b?c=d')");
    check_lua("assert(req:host() == 'shop.example' and req:scheme() == 'https' and req:version() "
              "== '1.1' and req:id() == 7)");
    check_lua("assert(req:tls() == 'TLSv1.3' and req:sni() == 'shop.example' and req:transport() "
              "== 'tcp')");
    check_lua("assert(req:ip() == '203.0.113.9' and req:port() == 40000 and req:local_ip() == "
              "'192.0.2.1' and req:local_port() == 443)");
    check_lua("assert(req:header('USER-agent') == 'check/1' and req:header('none') == nil and "
              "req:header('x-two') == 'one, two')");
    check_lua("local h = req:headers() assert(#h == 5 and h[1][1] == 'Host' and h[4][2] == 'two')");
    check_lua("assert(req:cookie('session') == 's3' and req:cookie('a') == '1' and "
              "req:cookie('sess') == nil)");
    check_lua("assert(req:hash('x') == req:hash('x') and req:hash('x') ~= req:hash('y') and "
              "req:hash('a') == 1817065451,"
              " req:hash('a'))");
    check_lua("req:ctx().n = 1 assert(req:ctx().n == 1)");
    check_lua("assert(tostring(req):match('^req: ') and req == req and ({ [req] = 1 })[req] == 1)");
    check_lua("assert(getmetatable(req) == 'handle')");
}

static void test_editing(void)
{
    sl_check(run("req:set_header('X-New', 'v') req:set_header('x-two', 'three') "
                 "req:set_header('user-agent', nil)"
                 " req:add_header('x-two', 'four') req:set_path('/new?q') "
                 "assert(req:header('x-two') == 'three, four')"
                 " assert(#req:headers() == 5)") == 0);
    sl_check(v.kind == SL_VERDICT_NONE);
    sl_check_str(test_header(&t.ex.req.headers, "x-new"), SL_STR("v"));
    sl_check(sl_headers_find(&t.ex.req.headers, SL_STR("user-agent")) == NULL);
    sl_check_str(t.ex.req.path, SL_STR("/new"));
    sl_check_str(t.ex.req.query, SL_STR("q"));
    done();
    sl_check(
        run("req:set_header('host', 'other.example:81') assert(req:host() == 'shop.example')") ==
        0);
    sl_check_str(t.ex.req.authority, SL_STR("other.example:81"));
    sl_check_str(test_header(&t.ex.req.headers, "host"), SL_STR("other.example:81"));
    done();
}

/* The code throws with this sentence, and the request fails closed. */
static void check_throws(const char *code, const char *sentence)
{
    char body[2048];

    snprintf(body, sizeof(body),
             "local ok, err = pcall(function() %s end) assert(not ok) err = "
             "tostring(err):gsub('^%%S*/policy', 'policy')"
             " req:ctx().err = err assert(err:find([=[%s]=], 1, true), err)",
             code, sentence);
    check_lua(body);
    sl_check(run(code) == 0 && v.kind == SL_VERDICT_ERROR);
    done();
}

/* Attack L-08: at the call, with file and line. */
static void test_misuse(void)
{
    check_throws("req:set_header('x', 'a\\r\\nb')",
                 "policy.lua:2: the value of header x holds a line break");
    check_throws("req:set_header('x', 'a\\0b')", "policy.lua:2: the value of header x holds");
    check_throws("req:add_header('x', 'a\\nb')", "policy.lua:2: the value of header x holds");
    check_throws("req:set_header('x y', 'a')", "policy.lua:2: \"x y\" is not a name of a header");
    check_throws("req:set_header('', 'a')", "is not a name of a header");
    check_throws("req:set_header('Content-Length', '5')",
                 "policy.lua:2: header Content-Length is set by sluice itself");
    check_throws("req:set_header('transfer-encoding', nil)",
                 "header transfer-encoding is set by sluice itself");
    check_throws("req:set_header('x')", "bad argument #2 to 'set_header' (value expected)");
    check_throws("req:set_header('host', 'a/b')", "\"a/b\" is not a host");
    check_throws("req:set_header('host', nil)", "a request cannot be without host");
    check_throws("req:add_header('host', 'x')", "a request has one host");
    check_throws("req:set_path('x')", "set_path: \"x\" is not a path");
    check_throws("req:set_path('/a b')", "is not a path");
    check_throws("req:set_path('/a\\r\\n')", "is not a path");
    check_throws("req:set_path('/a#b')", "is not a path");
    check_throws("req:status()", "policy.lua:2: req:status: not a method of a request");
    check_throws("req:alpn()", "req:alpn: not a method of a request");
    check_throws("req.header('x')",
                 "header: a handle expected, got string (req:header() with a colon?)");
    check_throws("req:heder('x')", "a handle has no method \"heder\"");
    check_throws("req.x = 1", "");
    check_throws("for i = 1, 3000 do req:set_header('x' .. i, ('y'):rep(1000)) end",
                 "more than 1 MiB of changes");
    check_throws("local s = require 'sluice' s.reply(200, '', { x = 'a\\r\\nb' })",
                 "policy.lua:2: reply: ");
}

static void check_verdict(const char *body, enum sl_verdict_kind kind, int status, const char *text)
{
    sl_check(run(body) == 0);
    sl_check(v.kind == kind && v.status == status);
    sl_check_str(v.text, sl_str_c(text));
    done();
}

static void test_verbs(void)
{
    check_verdict("return nil", SL_VERDICT_NONE, 0, NULL);
    check_verdict("return sluice.deny()", SL_VERDICT_DENY, 403, NULL);
    check_verdict("return sluice.deny(401, 'who?')", SL_VERDICT_DENY, 401, "who?");
    check_verdict("return sluice.redirect('/x', 308)", SL_VERDICT_REDIRECT, 308, "/x");
    check_verdict("return sluice.route('blue')", SL_VERDICT_ROUTE, 0, "blue");
    check_verdict("return { verb = 'reply', status = 200, body = 'plain' }", SL_VERDICT_REPLY, 200,
                  "plain");

    sl_check(run("return sluice.reply(201, 'made', { ['Content-Type'] = 'text/plain', ['x-a'] = "
                 "'b' })") == 0);
    sl_check(v.kind == SL_VERDICT_REPLY && v.status == 201 && v.headers.n == 1);
    sl_check_str(v.content_type, SL_STR("text/plain"));
    sl_check_str(test_header(&v.headers, "x-a"), SL_STR("b"));
    done();

    sl_check(run("return { verb = 'reply', status = 200, headers = { { 'set-cookie', 'a' }, "
                 "{ 'set-cookie', 'b' }, { 'n', 5 } } }") == 0);
    sl_check(v.kind == SL_VERDICT_REPLY && v.headers.n == 3);
    sl_check_str(v.headers.at[1].value, SL_STR("b"));
    done();

    sl_check(run("return sluice.reply(200, function() end, { ['content-length'] = '5' })") == 0);
    sl_check(v.kind == SL_VERDICT_SERVE && v.status == 200 && v.content_length == 5);
    done();

    sl_check(run("return sluice.target('10.0.0.7', 3000, { tls = true, verify = false })") == 0);
    sl_check(v.kind == SL_VERDICT_TARGET && v.target_port == 3000 && v.target_tls &&
             !v.target_verify);
    sl_check_str(v.target_host, SL_STR("10.0.0.7"));
    done();
}

static void test_bad_verbs(void)
{
    static const char *const bodies[] = {
        "return 5",
        "return 'deny'",
        "return {}",
        "return { verb = 'explode' }",
        "return { verb = 5 }",
        "return sluice.passthrough()",
        "return { verb = 'deny', status = 99 }",
        "return { verb = 'deny', status = '4o3' }",
        "return { verb = 'deny', body = {} }",
        "return { verb = 'reply', status = 700 }",
        "return { verb = 'reply', headers = 5 }",
        "return { verb = 'reply', headers = { x = 'a\\r\\nb' } }",
        "return { verb = 'reply', headers = { ['x\\n'] = 'a' } }",
        "return { verb = 'reply', headers = { [1] = 'a' } }",
        "return { verb = 'reply', headers = { x = { {} } } }",
        "return { verb = 'reply', headers = { { 'x' } } }",
        "return { verb = 'reply', headers = { { 'x', {} } } }",
        "return { verb = 'reply', headers = { { 'x', 'a' }, 'y' } }",
        "return { verb = 'reply', body = function() end, headers = { ['content-length'] = '-1' } }",
        "return { verb = 'reply', body = function() end, headers = { te = 'x' } }",
        "return { verb = 'reply', headers = { ['content-length'] = '5' } }",
        "return { verb = 'redirect' }",
        "return { verb = 'redirect', location = 'a\\nb' }",
        "return { verb = 'route' }",
        "return { verb = 'target', host = 'x' }",
        "return { verb = 'target', host = 'x', port = 70000 }",
        "return setmetatable({}, { __index = function() error 'no' end })",
    };

    for (size_t i = 0; i < SL_COUNT(bodies); i++) {
        sl_check(run(bodies[i]) == 0);
        if (v.kind != SL_VERDICT_ERROR)
            fprintf(stderr, "in: %s\n", bodies[i]);
        sl_check(v.kind == SL_VERDICT_ERROR);
        done();
    }
}

static void test_on_error(void)
{
    script = test_load("return { on_error = 'continue', on_request = function() error 'x' end }");
    test_exchange_init(&t);
    sl_check(test_on_request(&t, script, &v) == 0 && v.kind == SL_VERDICT_NONE);
    done();
    script = test_load("return { on_error = 'continue', on_request = function() return 5 end }");
    test_exchange_init(&t);
    sl_check(test_on_request(&t, script, &v) == 0 && v.kind == SL_VERDICT_ERROR);
    done();
}

/* The error of a C function in a tail call names the hook at least. */
static void test_place(void)
{
    static const char code[] = "return ('x'):rep(5000):find('.-.-.-.-b')";

    test_log_begin();
    sl_check(run(code) == 0 && v.kind == SL_VERDICT_ERROR);
    sl_check(strstr(test_log_end(), "policy.lua:2: in on_request: pattern too complex") != NULL);
    done();
}

/* Attack L-10: a handle that was kept says so; the next exchange in the same place is not it. */
static void test_stale(void)
{
    struct test_exchange second;

    script = test_load(
        "local kept, conn local p = {}"
        " function p.on_connect(c) conn = c end"
        " function p.on_request(req) if kept then"
        "   local ok, err = pcall(kept.header, kept, 'x') assert(not ok and err:find('this request "
        "has ended'), err)"
        "   assert(kept ~= req and tostring(kept) == 'req (ended)', tostring(kept))"
        "   ok, err = pcall(conn.ip, conn) assert(not ok and err:find('has ended'), err) end"
        " kept = req end return p");
    test_exchange_init(&second);
    sl_check(sl_script_hooks(script)->on_connect(sl_script_hooks(script)->host, &second.slot,
                                                 &second.peer, &v) == 0);
    test_exchange_clear(&second, script);
    for (int i = 0; i < 10000; i++) { /* more than there are slots in the first chunk */
        test_exchange_init(&t);
        sl_check(test_on_request(&t, script, &v) == 0 && v.kind == SL_VERDICT_NONE);
        test_exchange_clear(&t, script);
        if (v.kind != SL_VERDICT_NONE)
            break;
    }
    sl_script_free(script);
}

static void test_many_handles(void)
{
    enum { N = 20000 };
    struct test_exchange *all = sl_zalloc(N * sizeof(*all));

    script =
        test_load("local n = 0 return { on_request = function(req) n = n + 1 req:ctx().n = n end,"
                  " on_response = function(res, req) res:set_status(200 + req:ctx().n % 4) end }");
    for (int i = 0; i < N; i++) {
        test_exchange_init(&all[i]);
        sl_check(test_on_request(&all[i], script, &v) == 0 && v.kind == SL_VERDICT_NONE);
    }
    for (int i = 0; i < N; i++) {
        const struct sl_hooks *hooks = sl_script_hooks(script);

        hooks->on_response(hooks->host, &all[i].slot, &all[i].ex, &all[i].res, SL_STR("a:1"), &v);
        sl_check(all[i].res.status == 200 + (i + 1) % 4);
        test_exchange_clear(&all[i], script);
    }
    sl_script_free(script);
    sl_free(all);
}

static int respond(void)
{
    const struct sl_hooks *hooks = sl_script_hooks(script);

    return hooks->on_response(hooks->host, &t.slot, &t.ex, &t.res, SL_STR("10.0.0.1:80"), &v);
}

static void test_response(void)
{
    script = test_load(
        "local p, kept = {} function p.on_request(req) req:ctx().a = 1 end"
        " function p.on_response(res, req) assert(res:status() == 200 and res:target() == "
        "'10.0.0.1:80')"
        " assert(req:ctx().a == 1 and res:header('server') == 'origin') res:set_header('server', "
        "nil)"
        " res:set_header('x-a', 'b') res:set_status(404)"
        " assert(not pcall(res.set_status, res, 204) and not pcall(res.set_status, res, 100))"
        " local ok, err = pcall(req.set_header, req, 'x', 'y') assert(not ok and err:find('has "
        "been sent on'), err)"
        " if kept then local ok, err = pcall(kept.status, kept) assert(not ok and err:find('this "
        "response has ended')) end"
        " kept = res end return p");
    test_exchange_init(&t);
    sl_check(test_on_request(&t, script, &v) == 0);
    sl_check(respond() == 0 && v.kind == SL_VERDICT_NONE && t.res.status == 404);
    sl_check(sl_headers_find(&t.res.headers, SL_STR("server")) == NULL);
    sl_check_str(test_header(&t.res.headers, "x-a"), SL_STR("b"));
    t.res.status = 200;
    test_add_header(&t, &t.res.headers, SL_STR("server"), SL_STR("origin"));
    sl_check(respond() == 0 && v.kind == SL_VERDICT_NONE);
    done();

    script = test_load("return { on_response = function(res) if res:status() == 200 then return { "
                       "verb = 'reply', status = 502 } end"
                       " return { verb = 'deny' } end }");
    test_exchange_init(&t);
    sl_check(respond() == 0 && v.kind == SL_VERDICT_REPLY && v.status == 502);
    t.res.status = 500;
    sl_check(respond() == 0 && v.kind == SL_VERDICT_ERROR);
    done();
}

static void test_done(void)
{
    struct sl_done entry = {.is_exchange = true,
                            .route = SL_STR("app"),
                            .target = SL_STR("a:1"),
                            .status = 200,
                            .duration_s = 0.5,
                            .bytes_in = 10,
                            .bytes_out = 20};
    const struct sl_hooks *hooks;

    script = test_load(
        "local seen local p = {} function p.on_done(e) seen = e error 'logged' end"
        " function p.on_request(req) local e = seen assert(e.kind == 'exchange' and "
        "e.route == 'app' and e.target == 'a:1')"
        " assert(e.method == 'GET' and e.host == 'shop.example' and e.path == "
        "'/a/b' and e.version == '1.1')"
        " assert(e.status == 200 and e.duration == 0.5 and e.bytes_in == 10 and "
        "e.bytes_out == 20 and e.id == 7)"
        " assert(e.ip == '203.0.113.9' and e.edge == 'nyc' and e.error == nil) end return p");
    hooks = sl_script_hooks(script);
    test_exchange_init(&t);
    entry.ex = &t.ex;
    entry.peer = &t.peer;
    t.peer.edge = SL_STR("nyc");
    hooks->on_done(hooks->host, &entry);
    sl_check(test_on_request(&t, script, &v) == 0 && v.kind == SL_VERDICT_NONE);
    entry.ex = NULL;
    entry.error = "reset";
    hooks->on_done(hooks->host, &entry);
    done();
}

static void test_connection(void)
{
    static const uint8_t alpn[] = "\x02h2\x08http/1.1";
    struct sl_tls_hello hello = {
        .sni = SL_STR("a.example"), .alpn = alpn, .alpn_len = sizeof(alpn) - 1};
    const struct sl_hooks *hooks;

    script = test_load(
        "local conn local p = {} function p.on_connect(c) conn = c assert(c:ip() == '203.0.113.9')"
        " assert(not pcall(c.sni, c)) return c:port() == 1 and { verb = 'deny' } or nil end"
        " function p.on_hello(h) assert(h == conn and h:sni() == 'a.example' and h:ip() == "
        "'203.0.113.9')"
        " local a = h:alpn() assert(#a == 2 and a[1] == 'h2' and a[2] == 'http/1.1')"
        " return { verb = 'passthrough' } end return p");
    hooks = sl_script_hooks(script);
    sl_check(hooks->present == (SL_HOOK_CONNECT | SL_HOOK_HELLO));
    test_exchange_init(&t);
    sl_check(hooks->on_connect(hooks->host, &t.slot, &t.peer, &v) == 0 &&
             v.kind == SL_VERDICT_NONE);
    sl_check(hooks->on_hello(hooks->host, &t.slot, &t.peer, &hello, &v) == 0 &&
             v.kind == SL_VERDICT_PASSTHROUGH);
    sl_addr_set_port(&t.peer.remote, 1);
    sl_check(hooks->on_connect(hooks->host, &t.slot, &t.peer, &v) == 0 &&
             v.kind == SL_VERDICT_DENY);
    done();
}

static int fail_with(const char *code)
{
    const struct sl_failure failure = {
        .status = 504, .error = "timed out", .target = SL_STR("a:1")};
    const struct sl_hooks *hooks;
    char text[1024];

    snprintf(text, sizeof(text), "return { on_failure = function(req, f) %s end }", code);
    script = test_load(text);
    hooks = sl_script_hooks(script);
    sl_check(hooks->present == SL_HOOK_FAILURE);
    test_exchange_init(&t);
    return hooks->on_failure(hooks->host, &t.slot, &t.ex, &failure, &v);
}

static void test_failure(void)
{
    sl_check(fail_with("assert(f.status == 504 and f.error == 'timed out' and f.target == 'a:1')"
                       " assert(f.route == nil and req:path() == '/a/b')"
                       " assert(not pcall(req.set_header, req, 'x', 'y'))") == 0);
    sl_check(v.kind == SL_VERDICT_NONE);
    done();
    sl_check(fail_with("return { verb = 'reply', status = 200, body = req:host() }") == 0);
    sl_check(v.kind == SL_VERDICT_REPLY && v.status == 200);
    sl_check_str(v.text, SL_STR("shop.example"));
    done();
    sl_check(fail_with("return { verb = 'deny' }") == 0 && v.kind == SL_VERDICT_ERROR);
    done();
    sl_check(fail_with("require 'sluice'.sleep(0)") == 0 && v.kind == SL_VERDICT_ERROR);
    done();
}

/* The script that saw the request has no such hook. */
static void test_failure_of_older_script(void)
{
    const struct sl_failure failure = {.status = 502, .error = "x"};
    struct sl_script *newer;
    const struct sl_hooks *hooks;

    script = test_load("return { on_request = function() end }");
    newer = test_load("return { on_failure = function() error('not for me') end }");
    test_exchange_init(&t);
    sl_check(test_on_request(&t, script, &v) == 0);
    hooks = sl_script_hooks(newer);
    sl_check(hooks->on_failure(hooks->host, &t.slot, &t.ex, &failure, &v) == 0);
    sl_check(v.kind == SL_VERDICT_NONE);
    done();
    sl_script_free(newer);
}

static int on_stream(const char *code, bool is_udp)
{
    const struct sl_hooks *hooks;
    char text[1024];

    snprintf(text, sizeof(text), "return { on_stream = function(c) %s end }", code);
    script = test_load(text);
    hooks = sl_script_hooks(script);
    sl_check(hooks->present == SL_HOOK_STREAM);
    test_exchange_init(&t);
    t.peer.edge = SL_STR("nyc");
    t.peer.is_udp = is_udp;
    return hooks->on_stream(hooks->host, &t.slot, &t.peer, &v);
}

static void test_stream(void)
{
    sl_check(on_stream("assert(c:edge() == 'nyc' and not c:is_udp() and c:transport() == 'tcp')"
                       " assert(c:ip() == '203.0.113.9' and c:local_port() == 443)",
                       false) == 0);
    sl_check(v.kind == SL_VERDICT_NONE);
    done();
    sl_check(on_stream("assert(c:is_udp() and c:transport() == 'udp')"
                       " return { verb = 'target', host = '10.0.0.7', port = 53 }",
                       true) == 0);
    sl_check(v.kind == SL_VERDICT_TARGET && v.target_port == 53);
    sl_check_str(v.target_host, SL_STR("10.0.0.7"));
    done();
    sl_check(on_stream("return { verb = 'deny' }", false) == 0 && v.kind == SL_VERDICT_DENY);
    done();
    sl_check(on_stream("return { verb = 'reply', status = 200 }", false) == 0);
    sl_check(v.kind == SL_VERDICT_ERROR);
    done();
    sl_check(on_stream("require 'sluice'.sleep(0)", false) == 0 && v.kind == SL_VERDICT_ERROR);
    done();
}

static struct sl_edge_facts edge_facts(const char *event)
{
    struct sl_edge_facts facts = {.event = event, .id = SL_STR("nyc"), .transport = "quic"};

    sl_addr_parse(&facts.remote, SL_STR("203.0.113.9"), 40000);
    return facts;
}

static int on_edge(const char *code, const char *event)
{
    struct sl_edge_facts facts = edge_facts(event);
    const struct sl_hooks *hooks;
    char text[1024];

    snprintf(text, sizeof(text),
             "local sluice = require 'sluice' return { on_edge = function(e) %s end }", code);
    script = test_load(text);
    hooks = sl_script_hooks(script);
    sl_check(hooks->present == SL_HOOK_EDGE);
    test_exchange_init(&t);
    return hooks->on_edge(hooks->host, &t.slot, &facts, &v);
}

static void test_edge(void)
{
    sl_check(on_edge("assert(e.event == 'authenticated' and e.id == 'nyc')"
                     " assert(e.ip == '203.0.113.9' and e.transport == 'quic')",
                     "authenticated") == 0);
    sl_check(v.kind == SL_VERDICT_NONE);
    done();
    sl_check(on_edge("return sluice.deny()", "up") == 0 && v.kind == SL_VERDICT_DENY);
    done();
    sl_check(on_edge("return sluice.target('x', 1)", "up") == 0 && v.kind == SL_VERDICT_ERROR);
    done();
    sl_check(on_edge("error 'no'", "down") == 0 && v.kind == SL_VERDICT_ERROR);
    done();
}

/* It may wait; the edge may go meanwhile. */
static void test_edge_waits(void)
{
    static const char code[] = "sluice.spawn(function() end):wait() return sluice.deny()";

    sl_check(on_edge(code, "authenticated") == SL_E_AGAIN);
    test_settle();
    sl_check(t.n_verdicts == 1 && t.verdict.kind == SL_VERDICT_DENY);
    done();
    sl_check(on_edge(code, "authenticated") == SL_E_AGAIN);
    test_exchange_clear(&t, script);
    test_settle();
    sl_check(t.n_verdicts == 0 && t.slot.script == NULL);
    sl_script_free(script);
}

static void test_no_edge(void)
{
    check_lua("assert(req:edge() == nil and req:is_udp() == false)");
}

/* A hook that waits keeps what the hello said. */
static void test_hello_waits(void)
{
    char name[] = "b.example";
    struct sl_tls_hello hello = {.sni = sl_str_c(name)};
    const struct sl_hooks *hooks;

    script =
        test_load("local s = require 'sluice' return { on_hello = function(h) local f = "
                  "s.spawn(function() return 1 end):wait()"
                  " assert(h:sni() == 'b.example') return { verb = 'deny', status = 421 } end }");
    hooks = sl_script_hooks(script);
    test_exchange_init(&t);
    sl_check(hooks->on_hello(hooks->host, &t.slot, &t.peer, &hello, &v) == SL_E_AGAIN);
    memset(name, 'x', sizeof(name));
    memset(&hello, 0, sizeof(hello));
    test_settle();
    sl_check(t.n_verdicts == 1 && t.verdict.kind == SL_VERDICT_DENY && t.verdict.status == 421);
    done();
}

static void test_body(void)
{
    sl_check(run("local b = req:body(100) assert(b == 'hello') req:set_header('x', b) "
                 "assert(req:body() == 'hello')"
                 " local c, err = req:body() assert(c == nil and err == 'too large') return "
                 "sluice.deny(400)") == SL_E_AGAIN);
    sl_check(body_max == 100);
    body_done(&t.slot, 0, SL_STR("hello"));
    sl_check(body_max == 1024 * 1024 && t.n_verdicts == 0);
    body_done(&t.slot, 0, SL_STR("hello"));
    body_done(&t.slot, SL_E_LIMIT, SL_STR_NONE);
    sl_check(t.n_verdicts == 1 && t.verdict.status == 400);
    sl_check_str(test_header(&t.ex.req.headers, "x"), SL_STR("hello"));
    done();
}

/* The client goes while the hook waits: no verdict, nothing left. */
static void test_forget(void)
{
    sl_check(run("req:body() error 'never'") == SL_E_AGAIN);
    test_exchange_clear(&t, script);
    sl_check(t.n_verdicts == 0 && t.slot.script == NULL);
    sl_script_free(script);

    /* A task beside the hook waits for the body. */
    sl_check(run("local s = sluice.spawn(function() local b, e = req:body() assert(b == nil and e "
                 "== 'aborted', e)"
                 " assert(not pcall(req.path, req)) end) s:wait() error 'never'") == SL_E_AGAIN);
    test_settle();
    test_exchange_clear(&t, script);
    test_settle();
    sl_check(t.n_verdicts == 0);
    sl_script_free(script);
}

/* The script ends while the hook waits: the exchange gets an answer. */
static void test_free_while_waiting(void)
{
    sl_check(run("req:body()") == SL_E_AGAIN);
    sl_script_free(script);
    sl_check(t.n_verdicts == 1 && t.verdict.kind == SL_VERDICT_ERROR && t.slot.script == NULL);
    sl_arena_clear(&t.ex.arena);
}

static void test_body_misuse(void)
{
    sl_check(run("sluice.spawn(function() req:body() end) local a = sluice.spawn(function()"
                 " local ok, err = pcall(req.body, req) assert(not ok and err:find('another task "
                 "waits'), err) end)"
                 " a:wait() req:ctx().later = sluice.spawn(function() local ok, err = "
                 "pcall(req.body, req)"
                 " assert(not ok and err:find('until on_request has decided'), err) end)") ==
             SL_E_AGAIN);
    test_settle();
    sl_check(t.n_verdicts == 1 && t.verdict.kind == SL_VERDICT_NONE);
    done();
}

/* Requests do not grow the memory of the state. */
static void test_no_leak(void)
{
    size_t before = 0, after = 0;

    script = test_load("return { on_request = function(req) req:ctx().x = {} req:header('x-two') "
                       "if req:id() == 8 then error 'x' end end }");
    for (int round = 0; round < 40; round++) {
        for (int i = 0; i < 500; i++) {
            test_exchange_init(&t);
            t.ex.id = 7 + (i % 50 == 0);
            test_on_request(&t, script, &v);
            test_exchange_clear(&t, script);
        }
        if (round == 10)
            before = sl_script_memory(script, NULL);
    }
    after = sl_script_memory(script, NULL);
    sl_check(after < before * 3);
    sl_script_free(script);
}

int main(void)
{
    test_begin();
    test_reading();
    test_editing();
    test_misuse();
    test_verbs();
    test_bad_verbs();
    test_on_error();
    test_place();
    test_stale();
    test_many_handles();
    test_response();
    test_failure();
    test_failure_of_older_script();
    test_done();
    test_connection();
    test_stream();
    test_edge();
    test_edge_waits();
    test_no_edge();
    test_hello_waits();
    test_body();
    test_forget();
    test_free_while_waiting();
    test_body_misuse();
    test_no_leak();
    return test_end();
}
