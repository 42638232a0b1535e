/* sluice.tunnel: what edges and hubs are told, what scripts hear, and how waiting ends. */
#include "script/internal.h"
#include "script/test_script.h"
#include "script/tunnels.h"

/* --- the program, with one edge and one hub --- */

static struct {
    void (*on_event)(void *arg, const struct sl_edge_event *event);
    void *listener;
    int n_refs, n_connects, n_cancels, n_accepts, n_hang_ups, n_give_ups;
    struct sl_edge_attempt attempt; /* its strings are checked at once */
    struct sl_edge_terms terms;
    struct sl_script_edge_opts opts;
    char host[64], name[64];
    void (*on_status)(void *arg, const struct sl_script_edge_status *status);
    void *asker;
} edge;

static struct sl_script_edge *edge_open(void *user, const struct sl_script_edge_opts *opts)
{
    edge.n_refs++;
    edge.opts = *opts;
    snprintf(edge.name, sizeof(edge.name), "%.*s", SL_STR_FMT(opts->name));
    return user;
}

static void tell(enum sl_edge_event_kind kind, int code, bool resumed, const char *text)
{
    struct sl_edge_event event = {kind, code, resumed, sl_str_c(text)};

    sl_check(edge.on_event != NULL);
    if (edge.on_event != NULL)
        edge.on_event(edge.listener, &event);
    test_settle();
}

static void edge_listen(struct sl_script_edge *e SL_UNUSED,
                        void (*on_event)(void *arg, const struct sl_edge_event *event), void *arg)
{
    struct sl_edge_event lost = {.kind = SL_EDGE_EVENT_LOST};
    void (*former)(void *arg, const struct sl_edge_event *event) = edge.on_event;
    void *former_arg = edge.listener;

    edge.on_event = on_event;
    edge.listener = arg;
    if (former != NULL)
        former(former_arg, &lost);
}

static void edge_release(struct sl_script_edge *e SL_UNUSED, void *arg)
{
    edge.n_refs--;
    if (edge.listener == arg)
        edge.on_event = NULL;
}

static void edge_connect(struct sl_script_edge *e SL_UNUSED, const struct sl_edge_attempt *a)
{
    edge.n_connects++;
    edge.attempt = *a;
    snprintf(edge.host, sizeof(edge.host), "%.*s", SL_STR_FMT(a->host));
}

static void edge_cancel(struct sl_script_edge *e SL_UNUSED)
{
    edge.n_cancels++;
}

static void edge_accept(struct sl_script_edge *e SL_UNUSED, const struct sl_edge_terms *terms)
{
    edge.n_accepts++;
    edge.terms = *terms;
}

static void edge_hang_up(struct sl_script_edge *e SL_UNUSED)
{
    edge.n_hang_ups++;
}

static void edge_give_up(struct sl_script_edge *e SL_UNUSED)
{
    edge.n_give_ups++;
}

static void edge_status(struct sl_script_edge *e SL_UNUSED,
                        void (*done)(void *arg, const struct sl_script_edge_status *status),
                        void *arg)
{
    edge.on_status = done;
    edge.asker = arg;
}

static void edge_close(struct sl_script_edge *e SL_UNUSED)
{
    struct sl_edge_event lost = {.kind = SL_EDGE_EVENT_LOST};

    edge.on_event(edge.listener, &lost);
}

static struct {
    int n_refs, n_closed;
    struct sl_script_hub_opts opts;
    size_t n_edges;
    char edges[256];
    void (*on_status)(void *arg, const struct sl_hub_stats *stats,
                      const struct sl_hub_edge_status *edges, size_t n);
    void *asker;
} hub;

static struct sl_script_hub *hub_open(void *user, const struct sl_script_hub_opts *opts,
                                      struct sl_err *err)
{
    hub.opts = *opts;
    if (opts->port == 1) {
        sl_err_set(err, SL_E_DENIED, "port 1: permission denied");
        return NULL;
    }
    hub.n_refs++;
    return user;
}

static void hub_release(struct sl_script_hub *h SL_UNUSED)
{
    hub.n_refs--;
}

static uint16_t hub_port(const struct sl_script_hub *h SL_UNUSED)
{
    return 4711;
}

static void hub_set_edges(struct sl_script_hub *h SL_UNUSED, const struct sl_hub_edge_spec *specs,
                          size_t n)
{
    char *at = hub.edges;

    hub.n_edges = n;
    for (size_t i = 0; i < n; i++)
        at += sprintf(at, "%.*s/%.*s/%.*s ", SL_STR_FMT(specs[i].id), SL_STR_FMT(specs[i].secret),
                      SL_STR_FMT(specs[i].config));
}

static void hub_status(struct sl_script_hub *h SL_UNUSED,
                       void (*done)(void *arg, const struct sl_hub_stats *stats,
                                    const struct sl_hub_edge_status *edges, size_t n),
                       void *arg)
{
    hub.on_status = done;
    hub.asker = arg;
}

static void hub_close(struct sl_script_hub *h SL_UNUSED)
{
    hub.n_closed++;
}

static const struct sl_script_tunnels tunnels = {
    .user = &edge, /* any address: nobody looks */
    .edge_open = edge_open,
    .edge_listen = edge_listen,
    .edge_release = edge_release,
    .edge_connect = edge_connect,
    .edge_cancel = edge_cancel,
    .edge_accept = edge_accept,
    .edge_hang_up = edge_hang_up,
    .edge_give_up = edge_give_up,
    .edge_status = edge_status,
    .edge_close = edge_close,
    .hub_open = hub_open,
    .hub_release = hub_release,
    .hub_port = hub_port,
    .hub_set_edges = hub_set_edges,
    .hub_status = hub_status,
    .hub_close = hub_close,
};

/* --- running a script --- */

/* The functions are for the modules of lua/sluice; here the script itself gets them as `core`. */
static void open_library(lua_State *L)
{
    sl_library_open(L);
    lua_pushliteral(L, "core");
    lua_rawgeti(L, LUA_REGISTRYINDEX, sl_script_fast(L)->core);
    lua_rawset(L, LUA_GLOBALSINDEX);
}

static int has_ended;
static bool has_failed;

static void on_end(void *user SL_UNUSED, enum sl_script_end how, const char *message)
{
    has_ended = 1;
    has_failed = how != SL_SCRIPT_ENDED;
    if (has_failed)
        fprintf(stderr, "%s\n", message);
}

/* Runs the code in start(), until it waits. */
static struct sl_script *start(const char *code)
{
    struct sl_script_opts opts = {.loop = test_loop, .kind = SL_SCRIPT_CONTROL};
    struct sl_script *s = NULL;
    struct sl_err err = {0};
    char text[4096];

    snprintf(text, sizeof(text),
             "local sluice = require 'sluice' local where = {host = 'hub.example', port = 8443, id "
             "= 'a', secret = 's'}\n"
             "local function turn() sluice.spawn(function() end):wait() end\n"
             "return {start = function(task) local e = core.tunnel.edge {name = 'main'}\n%s\nend}",
             code);
    test_write("policy.lua", text);
    opts.path = test_path("policy.lua");
    opts.lua_dir = SLUICE_SOURCE_DIR "/lua";
    opts.library = open_library;
    opts.services.tunnels = &tunnels;
    if (sl_script_load(&s, &opts, &err) < 0)
        fprintf(stderr, "%s\n", err.text);
    sl_check(s != NULL);
    memset(&edge, 0, sizeof(edge));
    memset(&hub, 0, sizeof(hub));
    has_ended = 0;
    sl_script_start(s, on_end, NULL);
    test_settle();
    return s;
}

/* It has come to its end by now. */
static void finish(struct sl_script *s)
{
    sl_check(has_ended && !has_failed);
    sl_script_free(s);
    test_settle();
    sl_check(edge.n_refs == 0 && hub.n_refs == 0);
    unlink(test_path("policy.lua"));
}

static void check_lua(const char *code)
{
    finish(start(code));
}

/* --- edges --- */

static void test_connect(void)
{
    struct sl_script *s = start(
        "where.transport, where.pin, where.timeout = 'quic', ('p'):rep(32), 0.25\n"
        "local line = e:connect(where) assert(line == 'LINE', line)\n"
        "local up, resumed = e:accept {ticket = ('t'):rep(16)} assert(up == true and resumed)\n"
        "e:give_up() e:hang_up()");

    sl_check(edge.n_connects == 1 && strcmp(edge.host, "hub.example") == 0);
    sl_check(edge.attempt.port == 8443 && edge.attempt.transport == SL_EDGE_QUIC);
    sl_check(edge.attempt.timeout_ms == 250 && !edge.attempt.verify && edge.attempt.pin[31] == 'p');
    tell(SL_EDGE_EVENT_ANSWER, 0, false, "LINE");
    sl_check(edge.n_accepts == 1 && edge.terms.is_sluice && edge.terms.ticket[15] == 't');
    tell(SL_EDGE_EVENT_UP, 0, true, "");
    sl_check(edge.n_give_ups == 1 && edge.n_hang_ups == 1);
    finish(s);
}

static void test_failures(void)
{
    struct sl_script *s =
        start("local _, err, kind = e:connect(where) assert(err == 'no' and kind == 'refused')\n"
              "_, err, kind = e:connect(where) assert(err == 'late' and kind == 'timed out')\n"
              "_, err, kind = e:connect(where) assert(err == 'reset' and kind == 'failed')\n"
              "_, err = e:accept() assert(err == 'there is no answer to accept')\n"
              "assert(e:connect(where))\n"
              "_, err = e:accept() assert(err == 'gone', err)\n");

    sl_check(edge.attempt.transport == SL_EDGE_TLS && edge.attempt.timeout_ms == 5000);
    tell(SL_EDGE_EVENT_FAILED, SL_E_REFUSED, false, "no");
    tell(SL_EDGE_EVENT_FAILED, SL_E_TIMEOUT, false, "late");
    tell(SL_EDGE_EVENT_FAILED, SL_E_RESET, false, "reset");
    tell(SL_EDGE_EVENT_ANSWER, 0, false, "LINE");
    sl_check(!edge.terms.is_sluice);
    tell(SL_EDGE_EVENT_DOWN, SL_E_RESET, false, "gone");
    finish(s);
}

/* An answer whose hub has gone is none. */
static void test_answer_is_lost(void)
{
    struct sl_script *s =
        start("assert(e:connect(where)) assert(e:event() == 'config')\n"
              "local ok, err = e:accept() assert(not ok and err:find('no answer'), err)");

    tell(SL_EDGE_EVENT_ANSWER, 0, false, "LINE");
    tell(SL_EDGE_EVENT_FAILED, SL_E_RESET, false, "gone");
    tell(SL_EDGE_EVENT_CONFIG, 0, false, "{}");
    finish(s);
}

/* Of configs the newest, and then the end, whether somebody waits or not. */
static void test_events(void)
{
    struct sl_script *s =
        start("local function check(a, b) local x, y = e:event() assert(x == a and y == b, y) end\n"
              "check('config', 'one') e:connect(where)\n"
              "check('config', 'three') check('down', 'why')\n"
              "local x, y = e:event(0.01) assert(x == nil and y == 'timed out')");

    tell(SL_EDGE_EVENT_CONFIG, 0, false, "one");
    tell(SL_EDGE_EVENT_CONFIG, 0, false, "two");
    tell(SL_EDGE_EVENT_CONFIG, 0, false, "three");
    tell(SL_EDGE_EVENT_DOWN, SL_E_RESET, false, "why");
    tell(SL_EDGE_EVENT_ANSWER, 0, false, "LINE");
    sl_check(test_run_until(&has_ended));
    finish(s);
}

/* Events of the link before are no events of the next one. */
static void test_events_are_of_one_link(void)
{
    struct sl_script *s = start("assert(e:connect(where)) assert(e:accept())\n"
                                "local x, y = e:event() assert(x == 'config' and y == 'new', y)");

    tell(SL_EDGE_EVENT_CONFIG, 0, false, "old");
    tell(SL_EDGE_EVENT_DOWN, SL_E_RESET, false, "old");
    tell(SL_EDGE_EVENT_ANSWER, 0, false, "LINE");
    tell(SL_EDGE_EVENT_UP, 0, false, "");
    tell(SL_EDGE_EVENT_CONFIG, 0, false, "new");
    finish(s);
}

static void test_cancel(void)
{
    struct sl_script *s =
        start("local t = sluice.spawn(function() e:connect(where) end)\n"
              "local u = sluice.spawn(function() e:event(60) end)\n"
              "turn() t:cancel() u:cancel()\n"
              "t = sluice.spawn(function() return e:connect(where) end) turn()\n"
              "local ok, err = pcall(e.connect, e, where)\n"
              "assert(not ok and err:find('another task is in connect'), err)\n"
              "e:hang_up() local line, why = t:wait() assert(not line and why == 'hung up')");

    sl_check(test_run_until(&has_ended));
    sl_check(edge.n_connects == 2 && edge.n_cancels == 1 && edge.n_hang_ups == 1);
    finish(s);
}

/* Whoever opens an edge last hears of it; the other is told so. */
static void test_taken_over(void)
{
    struct sl_script *s =
        start("local t = sluice.spawn(function() return e:connect(where) end)\n"
              "local u = sluice.spawn(function() return e:event() end) turn()\n"
              "local f = core.tunnel.edge {name = 'main', hold = 2.5}\n"
              "assert(select(2, t:wait()) == 'closed' and select(2, u:wait()) == 'closed')\n"
              "assert(select(3, e:connect(where)) == 'closed')\n"
              "assert(f:event() == 'config') f:close() assert(select(2, f:event()) == 'closed')\n"
              "assert(select(2, f:status()) == 'closed')");

    sl_check(test_run_until(&edge.n_connects));
    while (edge.n_refs != 1 && !has_ended)
        sl_loop_turn(test_loop, true);
    sl_check(edge.opts.hold_ms == 2500 && edge.n_refs == 1);
    test_settle();
    tell(SL_EDGE_EVENT_CONFIG, 0, false, "{}");
    finish(s);
}

static void test_status(void)
{
    struct sl_script_edge_status status = {
        .tunnel = {.is_up = true,
                   .transport = SL_EDGE_QUIC,
                   .up_since = 1700000000,
                   .rtt_ms = 1.5,
                   .links = 3,
                   .n_sessions = 4,
                   .streams = {.n_streams = 5, .n_ready = {6, 7}, .n_control = 8}},
        .answer = SL_STR("LINE"),
    };
    struct sl_script *s =
        start("local s = e:status()\n"
              "assert(s.connected and s.transport == 'quic' and s.remote == '192.0.2.7:8443')\n"
              "assert(s.connected_at == 1700000000 and s.rtt_ms == 1.5 and s.links == 3)\n"
              "assert(s.sessions == 4 and s.active_streams == 5 and s.queue.data == 6)\n"
              "assert(s.queue.sustained == 7 and s.queue.control == 8)\n"
              "assert(s.answer == 'LINE' and s.config == nil)\n"
              "s = e:status() assert(s.connected == false and s.remote == nil)");

    sl_addr_parse(&status.tunnel.remote, SL_STR("192.0.2.7"), 8443);
    edge.on_status(edge.asker, &status);
    test_settle();
    status.tunnel.is_up = false;
    edge.on_status(edge.asker, &status);
    test_settle();
    finish(s);
}

/* The script has gone when the worker answers. */
static void test_answer_after_the_end(void)
{
    struct sl_script_edge_status status = {0};
    struct sl_script *s = start("e:status()");

    sl_script_free(s);
    edge.on_status(edge.asker, &status);
    sl_check(edge.n_refs == 0 && edge.on_event == NULL && !has_ended);
}

/* A script that was replaced lets go of its edge, whatever its tasks wait for. */
static void test_retire(void)
{
    struct sl_script *s = start("sluice.timer(0, function() e:event() end)\n"
                                "core.tunnel.hub {name = 'h', cert = 'c', key = 'k'}\n"
                                "sluice.spawn(function() e:connect(where) end)\n"
                                "sluice.sleep(60)");

    while (edge.n_connects == 0)
        sl_loop_turn(test_loop, true);
    sl_check(edge.n_refs == 1 && hub.n_refs == 1);
    sl_script_retire(s, NULL, NULL);
    sl_check(edge.n_refs == 0 && hub.n_refs == 0 && edge.on_event == NULL);
    test_settle();
}

static void check_refuses(const char *code, const char *sentence)
{
    char text[1024];

    snprintf(text, sizeof(text),
             "local ok, err = pcall(function() %s end)\n"
             "assert(not ok and tostring(err):find([=[%s]=], 1, true), err)",
             code, sentence);
    check_lua(text);
}

static void test_misuse(void)
{
    check_refuses("core.tunnel.edge {}", "option name is missing");
    check_refuses("core.tunnel.edge {nam = 'x'}", "unknown option \"nam\"; did you mean \"name\"?");
    check_refuses("e:connect {host = 'x', id = 'a', secret = 's'}", "option port is missing");
    check_refuses("where.id = 'a b' e:connect(where)", "no edge can have these");
    check_refuses("where.secret = 'a\\nb' e:connect(where)", "no edge can have these");
    check_refuses("where.transport = 'tcp' e:connect(where)", "\"tls\" or \"quic\" expected");
    check_refuses("where.pin = 'short' e:connect(where)", "option pin: 32 bytes expected, got 5");
    check_refuses("e:accept {ticket = 'x'}", "option ticket: 16 bytes expected, got 1");
    check_refuses("core.tunnel.hub {name = 'h', key = 'k'}", "option cert is missing");
    check_refuses("local h = core.tunnel.hub {name = 'h', cert = 'c', key = 'k'} h:edges {{}}",
                  "edges[1].id: a string expected, got a nil");
    check_refuses("local h = core.tunnel.hub {name = 'h', cert = 'c', key = 'k'}\n"
                  "h:edges {{id = 'a b', secret = 's', config = ''}}",
                  "edges[1]: no edge can have this id and secret");
    check_refuses("local h = core.tunnel.hub {name = 'h', cert = 'c', key = 'k'} h:close()\n"
                  "h:port()",
                  "the hub is closed");
    test_refuse("require('sluice').tunnel.edge {name = 'x'} return {}", "sluice.tunnel");
}

/* --- hubs --- */

static void test_hub(void)
{
    struct sl_hub_stats stats = {.accepted = 9, .refused = 2, .dropped = 1, .n_edges_up = 1};
    struct sl_hub_edge_status edges[] = {{.id = SL_STR("a"), .tunnel = {.is_up = true, .links = 2}},
                                         {.id = SL_STR("b")}};
    struct sl_script *s =
        start("local _, err = core.tunnel.hub {name = 'h', cert = 'c', key = 'k', port = 1}\n"
              "assert(err == 'port 1: permission denied', err)\n"
              "local h = core.tunnel.hub {name = 'h', cert = 'c', key = 'k', quic = false,\n"
              "  resume_timeout = 2, max_streams = 10}\n"
              "assert(h:port() == 4711)\n"
              "h:edges {{id = 'a', secret = 's', config = '{}'}, {id = 'b', secret = 't', config "
              "= '{1}'}}\n"
              "local s = h:status() assert(s.accepted == 9 and s.refused == 2 and s.dropped == 1)\n"
              "assert(s.edges_up == 1 and #s.edges == 2 and s.edges[1].connected)\n"
              "assert(s.edges[1].links == 2 and s.edges[2].id == 'b')\n"
              "h:close() h:close()");

    sl_check(hub.opts.port == 8443 && hub.opts.no_quic && hub.opts.limits.resume_ms == 2000);
    sl_check(hub.opts.limits.max_streams == 10 && hub.opts.limits.ping_ms == 0);
    sl_check(hub.n_edges == 2 && strcmp(hub.edges, "a/s/{} b/t/{1} ") == 0);
    hub.on_status(hub.asker, &stats, edges, 2);
    test_settle();
    sl_check(hub.n_closed == 1);
    finish(s);
}

int main(void)
{
    test_begin();
    test_connect();
    test_failures();
    test_answer_is_lost();
    test_events();
    test_events_are_of_one_link();
    test_cancel();
    test_taken_over();
    test_status();
    test_answer_after_the_end();
    test_retire();
    test_misuse();
    test_hub();
    unlink(test_path("policy.lua"));
    return test_end();
}
