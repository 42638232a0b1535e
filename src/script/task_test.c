/* Tasks: waiting, results, cancelling, nested coroutines, spawn, start and stop, retirement. */
#include "script/bind.h"
#include "script/test_script.h"

/* A binding for the tests: core.hold(name) waits until the test releases it by name. It stands
   under the name of a real waiting function, which api.lua lists. */
struct held {
    struct held *next;
    struct sl_task *task;
    char name[32];
};

static struct held *held;
static int n_cancelled;

static void cancel_held(void *op)
{
    struct held **at = &held;

    while (*at != op)
        at = &(*at)->next;
    *at = (*at)->next;
    n_cancelled++;
    sl_free(op);
}

static int hold(lua_State *L)
{
    struct sl_str name = sl_arg_str(L, 1);
    struct sl_task *t = sl_task_must_wait(L, "sluice.fetch");
    struct held *h = sl_zalloc(sizeof(*h));

    snprintf(h->name, sizeof(h->name), "%s", name.p);
    h->task = t;
    h->next = held;
    held = h;
    return sl_task_wait(t, cancel_held, h);
}

static int push_two(lua_State *L, void *arg)
{
    lua_pushstring(L, arg);
    lua_pushinteger(L, 42);
    return 2;
}

static int push_too_much(lua_State *L, void *arg)
{
    (void)arg;
    lua_pushnil(L);
    return luaL_error(L, "no room");
}

static struct sl_task *take_held(const char *name)
{
    struct held **at = &held, *h;
    struct sl_task *t;

    while (*at != NULL && strcmp((*at)->name, name) != 0)
        at = &(*at)->next;
    if ((h = *at) == NULL)
        return NULL;
    t = h->task;
    *at = h->next;
    sl_free(h);
    return t;
}

static bool release(const char *name, sl_push_fn *push)
{
    struct sl_task *t = take_held(name);

    if (t != NULL)
        sl_task_resume(t, push, (void *)name);
    return t != NULL;
}

static int note_(lua_State *L);

static void library(lua_State *L)
{
    static const struct luaL_Reg functions[] = {{"fetch", hold}, {"print", note_}, {NULL, NULL}};

    sl_library_open(L);
    sl_bind_functions(L, functions); /* in place of those */
}

/* What the script noted with sluice.print, joined. */
static char notes[4096];

static int note_(lua_State *L)
{
    size_t n = strlen(notes);

    snprintf(notes + n, sizeof(notes) - n, "%s;", luaL_checkstring(L, 1));
    return 0;
}

static void check_notes(const char *want)
{
    sl_check_str(sl_str_c(notes), sl_str_c(want));
    notes[0] = '\0';
}

static struct sl_script *load(enum sl_script_kind kind, const char *body)
{
    struct sl_script_opts opts = {.loop = test_loop, .kind = kind, .library = library};
    struct sl_script *s = NULL;
    struct sl_err err = {0};
    char text[8192];

    snprintf(text, sizeof(text),
             "local sluice = require 'sluice' local hold, note, p = sluice.fetch, sluice.print, "
             "{}\n%s\nreturn p",
             body);
    test_write("policy.lua", text);
    opts.path = test_path("policy.lua");
    if (sl_script_load(&s, &opts, &err) < 0)
        fprintf(stderr, "%s\n", err.text);
    sl_check(s != NULL);
    unlink(opts.path);
    return s;
}

static enum sl_script_end last_end;
static char last_message[256];
static int n_ends;

static void on_end(void *user, enum sl_script_end end, const char *message)
{
    (void)user;
    n_ends++;
    last_end = end;
    snprintf(last_message, sizeof(last_message), "%s", message != NULL ? message : "");
}

static struct sl_script *start(const char *body)
{
    struct sl_script *s = load(SL_SCRIPT_CONTROL, body);

    n_ends = 0;
    sl_script_start(s, on_end, NULL);
    return s;
}

/* --- waiting --- */

static void test_wait(void)
{
    struct sl_script *s =
        start("function p.start() note(hold 'a') local x, n = hold 'b' note(x .. n) end");

    sl_check(n_ends == 0 && release("a", push_two));
    sl_check(n_ends == 0 && !release("a", push_two));
    sl_check(release("b", push_two) && n_ends == 1 && last_end == SL_SCRIPT_ENDED);
    check_notes("a;b42;");
    sl_script_free(s);
}

static void test_wait_through(void)
{
    struct sl_script *s =
        start("function p.start() local ok, x = pcall(hold, 'a') note(tostring(ok) .. x)"
              " for v in function() return hold 'b' end do note(v) break end"
              " local t = setmetatable({}, { __index = function() return (hold 'c') end }) "
              "note(t.x) end");

    sl_check(release("a", push_two) && release("b", push_two) && release("c", push_two));
    check_notes("truea;b;c;");
    sl_check(n_ends == 1);
    sl_script_free(s);
}

static void test_wait_fails(void)
{
    struct sl_script *s =
        start("function p.start() local x, err = hold 'a' note(tostring(x) .. err)"
              " x, err = hold 'b' note(tostring(x) .. err) note(tostring(hold 'c')) end");

    sl_task_resume_error(take_held("a"), "timed out");
    sl_check(release("b", push_too_much));
    sl_task_resume_true(take_held("c"));
    check_notes("niltimed out;nilout of memory;true;");
    sl_script_free(s);
}

static void test_cannot_wait(void)
{
    struct sl_script *s = start("function p.start() local function try(f, ...) local ok, err = "
                                "pcall(f, ...) note(tostring(err):gsub('^.-:%d+: ', '')) end"
                                " try(coroutine.wrap(function() hold 'x' end))"
                                " try(table.sort, { 1, 2 }, function() hold 'x' end)"
                                " try(string.gsub, 'a', 'a', function() hold 'x' end) end");

    sl_check(
        strstr(
            notes,
            "sluice.fetch cannot wait inside a coroutine that the script made; use sluice.spawn") ==
        notes);
    sl_check(strstr(notes, "; use sluice.spawn for work beside;sluice.fetch cannot wait inside a "
                           "function that C code") != NULL);
    sl_check(strstr(notes,
                    "require);sluice.fetch cannot wait inside a function that C code calls back") !=
             NULL);
    sl_check(n_ends == 1 && last_end == SL_SCRIPT_ENDED && held == NULL);
    notes[0] = '\0';
    sl_script_free(s);
}

static void test_stray_yield(void)
{
    struct sl_script *s = start("function p.start() coroutine.yield(1) end");

    sl_check(n_ends == 1 && last_end == SL_SCRIPT_FAILED &&
             strstr(last_message, "coroutine.yield") != NULL);
    sl_script_free(s);
}

/* Coroutines of the script's own work as in Lua. */
static void test_own_coroutines(void)
{
    struct sl_script *s = start(
        "function p.start() local c = coroutine.wrap(function(a) local b = coroutine.yield(a + 1)"
        " error('in ' .. b) end) note(c(1)) local ok, err = pcall(c, 'x') note(err:match('in x'))"
        " note(hold 'a') end");

    sl_check(release("a", push_two));
    check_notes("2;in x;a;");
    sl_script_free(s);
}

/* --- spawn --- */

static void test_spawn(void)
{
    struct sl_script *s =
        start("function p.start(task) local a = sluice.spawn(function(x, y) note(x) return "
              "hold(y), 'r' end, 'x', 'y')"
              " note('before') local v, r = a:wait() note(v .. r) v, r = a:wait() note(v .. r)"
              " local b = sluice.spawn(error, 'oops', 0) note(select(2, b:wait()))"
              " note(select(2, pcall(task.wait, task)):match('cannot wait for itself')) end");

    check_notes("before;");
    test_settle();
    check_notes("x;");
    sl_check(release("y", push_two));
    test_settle();
    check_notes("yr;yr;oops;cannot wait for itself;");
    sl_check(n_ends == 1);
    sl_script_free(s);
}

static void test_spawn_in_the_body(void)
{
    struct sl_script *s = load(
        SL_SCRIPT_WORKER, "sluice.spawn(function(x) note(x) note(hold('held')) end, 'x')"
                          " local apart = coroutine.wrap(function() sluice.spawn(note, 'y') end)"
                          " apart()");

    check_notes("");
    test_settle();
    check_notes("x;y;");
    sl_check(release("held", push_two));
    test_settle();
    check_notes("held;");
    sl_script_free(s);
}

static void test_spawn_cancel(void)
{
    struct sl_script *s =
        start("function p.start(self) local a = sluice.spawn(function() hold 'a' note 'never' end)"
              " local b = sluice.spawn(function() local v, e = a:wait() note(tostring(v) .. e) end)"
              " hold 'go' a:cancel() a:cancel() b:wait() local v, e = a:wait() note(e)"
              " sluice.spawn(function() note 'late' end):cancel()"
              " sluice.spawn(function() self:cancel() end) hold 'forever' note 'never' end");

    test_settle();
    n_cancelled = 0;
    sl_check(release("go", NULL) && n_cancelled == 1);
    test_settle();
    check_notes("nilcancelled;cancelled;");
    sl_check(n_cancelled == 2 && held == NULL && n_ends == 0);
    sl_script_free(s);
}

/* A task that cancels itself goes on until it waits, and not beyond. */
static void test_cancel_running(void)
{
    struct sl_script *s =
        start("function p.start(self) self:cancel() note 'on' pcall(hold, 'x') note 'never' end");

    check_notes("on;");
    sl_check(held == NULL && n_ends == 0);
    sl_script_free(s);
}

/* Nobody holds the object: the task runs on. */
static void test_spawn_dropped(void)
{
    struct sl_script *s =
        start("function p.start() for i = 1, 300 do sluice.spawn(function() hold('t' .. i) "
              "note('.') end) end"
              " hold 'gc' collectgarbage('step', 1e6) for i = 1, 2e5 do local t = {} end end");
    char name[16];

    test_settle();
    sl_check(release("gc", NULL));
    for (int i = 1; i <= 300; i++) {
        snprintf(name, sizeof(name), "t%d", i);
        sl_check(release(name, NULL));
    }
    sl_check(strlen(notes) == 600);
    notes[0] = '\0';
    sl_script_free(s);
}

/* Tasks that wake one another for ever leave the loop its turns. */
static void test_fair(void)
{
    struct sl_script *s =
        start("function p.start() local function go() sluice.spawn(go) end go() end");

    test_settle();
    sl_script_free(s);
}

/* --- start, stop, check --- */

static void test_start_refuses(void)
{
    struct sl_script *s = start("function p.start() return nil, 'cannot bind' end function "
                                "p.stop() note 'stop' hold 'x' end"
                                " function p.check() return false, 'bad config' end");

    sl_check(n_ends == 1 && last_end == SL_SCRIPT_REFUSED &&
             strcmp(last_message, "cannot bind") == 0);
    sl_script_check(s, on_end, NULL);
    sl_check(n_ends == 2 && last_end == SL_SCRIPT_REFUSED &&
             strcmp(last_message, "bad config") == 0);
    sl_script_stop(s, on_end, NULL);
    sl_check(n_ends == 2);
    sl_check(release("x", NULL) && n_ends == 3 && last_end == SL_SCRIPT_ENDED);
    check_notes("stop;");
    sl_script_free(s);
    s = load(SL_SCRIPT_CONTROL, "");
    sl_script_start(s, on_end, NULL);
    sl_check(n_ends == 4 && last_end == SL_SCRIPT_ENDED);
    sl_script_free(s);
}

static int has_ended;

static void on_second_end(void *user, enum sl_script_end end, const char *message)
{
    on_end(user, end, message);
    has_ended = n_ends == 2;
}

static void test_start_again(void)
{
    struct sl_script *s =
        load(SL_SCRIPT_CONTROL,
             "local n = 0 function p.start() n = n + 1 note('run' .. n) if n == 1 then"
             " error 'first' end end");

    n_ends = 0;
    sl_script_start(s, on_second_end, NULL);
    sl_check(n_ends == 1 && last_end == SL_SCRIPT_FAILED && strstr(last_message, "first") != NULL);
    sl_check(test_run_until(&has_ended) && n_ends == 2 && last_end == SL_SCRIPT_ENDED);
    check_notes("run1;run2;");
    sl_script_free(s);
}

static void test_guard(void)
{
    struct sl_script *s = load(
        SL_SCRIPT_WORKER, "function p.on_connect(c) hold 'x' end function p.on_done() hold 'x' end"
                          " function p.on_response(res) hold 'x' end");
    const struct sl_hooks *hooks = sl_script_hooks(s);
    struct test_exchange t;
    struct sl_verdict v;

    test_exchange_init(&t);
    sl_check(hooks->on_connect(hooks->host, &t.slot, &t.peer, &v) == 0 &&
             v.kind == SL_VERDICT_ERROR);
    test_exchange_clear(&t, s);
    test_exchange_init(&t);
    sl_check(hooks->on_response(hooks->host, &t.slot, &t.ex, &t.res, SL_STR("a:1"), &v) == 0);
    sl_check(v.kind == SL_VERDICT_ERROR && held == NULL);
    test_exchange_clear(&t, s);
    sl_script_free(s);
}

/* --- the end of a script --- */

static int n_gone, n_closed;

static void on_gone(void *user)
{
    (void)user;
    n_gone++;
}

static void on_close(struct sl_script_owned *o)
{
    (void)o;
    n_closed++;
}

static void test_free_while_waiting(void)
{
    struct sl_script *s =
        start("function p.start() sluice.spawn(function() hold 'b' end) hold 'a' end");

    test_settle();
    n_cancelled = 0;
    sl_script_free(s);
    sl_check(n_cancelled == 2 && held == NULL && n_ends == 0);
}

/* Attack L-11: the old script finishes what it began. */
static void test_retire(void)
{
    struct sl_script *s =
        load(SL_SCRIPT_WORKER,
             "function p.on_request(req) note(hold 'a') req:set_header('x', 'old') end");
    struct sl_script_owned owned = {0};
    struct test_exchange t;
    struct sl_verdict v;

    test_exchange_init(&t);
    sl_script_on_retire(s, &owned, on_close);
    sl_check(test_on_request(&t, s, &v) == SL_E_AGAIN);
    n_gone = n_closed = 0;
    sl_script_retire(s, on_gone, NULL);
    test_settle();
    sl_check(n_gone == 0 && n_closed == 1);
    sl_check(release("a", push_two) && t.n_verdicts == 1 && t.verdict.kind == SL_VERDICT_NONE);
    test_settle();
    sl_check(n_gone == 0); /* the exchange still has its handle */
    sl_check_str(test_header(&t.ex.req.headers, "x"), SL_STR("old"));
    test_exchange_clear(&t, s);
    test_settle();
    sl_check(n_gone == 1);
    check_notes("a;");
}

static void test_retire_control(void)
{
    struct sl_script *s = start(
        "function p.start() sluice.spawn(function() while true do hold 'b' end end) hold 'a' end");

    test_settle();
    n_cancelled = n_gone = 0;
    sl_script_hold(s);
    sl_script_retire(s, on_gone, NULL);
    sl_check(n_cancelled == 2 && held == NULL);
    test_settle();
    sl_check(n_gone == 0);
    sl_script_release(s);
    test_settle();
    sl_check(n_gone == 1);
}

int main(void)
{
    test_begin();
    test_wait();
    test_wait_through();
    test_wait_fails();
    test_cannot_wait();
    test_stray_yield();
    test_own_coroutines();
    test_spawn();
    test_spawn_in_the_body();
    test_spawn_cancel();
    test_cancel_running();
    test_spawn_dropped();
    test_fair();
    test_start_refuses();
    test_start_again();
    test_guard();
    test_free_while_waiting();
    test_retire();
    test_retire_control();
    return test_end();
}
