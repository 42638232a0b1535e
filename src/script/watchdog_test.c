/* The CPU budget and the memory cap against scripts that want neither (attacks L-01 to L-05). */
#include <sys/wait.h>
#include <time.h>
#include "base/clock.h"
#include "script/test_script.h"
#include "script/watchdog.h"

static uint64_t cpu_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Runs on_request; the CPU time that it took. */
static uint64_t run(struct sl_script *s, struct sl_verdict *v)
{
    struct test_exchange t;
    uint64_t before = cpu_ms();

    test_exchange_init(&t);
    sl_check(test_on_request(&t, s, v) == 0);
    test_exchange_clear(&t, s);
    return cpu_ms() - before;
}

/* The code is stopped soon after its budget, however it goes about it, and the script works on. */
static void check_stopped(const char *code)
{
    char text[2048];
    struct sl_script *s;
    struct sl_verdict v;
    uint64_t ms;

    snprintf(text, sizeof(text),
             "local armed = true local p = {} function p.on_request(req) if armed then armed = "
             "false %s end"
             " for i = 1, 1000 do local x = i .. '' end req:set_header('x', 'y') end return p",
             code);
    s = test_load(text);
    ms = run(s, &v);
    if (v.kind != SL_VERDICT_ERROR || ms < 40 || ms > 400)
        fprintf(stderr, "%d ms, verdict %d: %s\n", (int)ms, v.kind, code);
    sl_check(v.kind == SL_VERDICT_ERROR && ms >= 40 && ms <= 400);
    run(s, &v);
    sl_check(v.kind == SL_VERDICT_NONE);
    sl_script_free(s);
}

static void test_loops(void)
{
    check_stopped("while true do end");
    check_stopped("repeat until false");
    check_stopped("local function f() return f() end f()");
    check_stopped("while true do local x = ('a'):rep(10) .. 'b' end");
    check_stopped("while true do pcall(function() while true do end end) end");
    check_stopped("while true do pcall(error) end");
    check_stopped("coroutine.wrap(function() while true do pcall(function() while true do end end) "
                  "end end)()");
    check_stopped(
        "while true do coroutine.resume(coroutine.create(function() while true do end end)) end");
    check_stopped("xpcall(function() while true do end end, function() while true do end end) "
                  "while true do end");
    check_stopped("while true do load('while true do end')() end");
    check_stopped(
        "setmetatable({}, { __index = function() while true do end end }).x = nil"
        " local t = setmetatable({}, { __lt = function() while true do end end }) local _ = t < t");
    check_stopped("('x'):gsub('x', function() while true do end end)");
    check_stopped("table.sort({ 3, 2, 1 }, function() while true do end end)");
    check_stopped("while true do req:header('user-agent') end");
    check_stopped("while true do pcall(req.set_header, req, 'x y', 'z') end");
}

/* What runs in C is stopped, too. */
static void test_patterns(void)
{
    check_stopped("local s = ('a'):rep(1e6) while true do pcall(string.find, s, '.-.-.-.-b') end");
    check_stopped("local s = ('a'):rep(1e6) while true do pcall(string.gsub, s, 'a*b', 'x') end");
}

static void test_limit_of_patterns(void)
{
    struct sl_script *s = test_load("return { on_request = function(req) local ok, err = "
                                    "pcall(string.find, ('a'):rep(2048), '.-.-.-.-b')"
                                    " assert(not ok and err == 'pattern too complex', err) end }");
    struct sl_verdict v;

    sl_check(run(s, &v) < 50 && v.kind == SL_VERDICT_NONE);
    sl_script_free(s);
}

static void test_own_budget(void)
{
    struct sl_script *s =
        test_load("return { budget_ms = 300, on_request = function() while true do end end }");
    struct sl_verdict v;
    uint64_t ms = run(s, &v);

    sl_check(v.kind == SL_VERDICT_ERROR && ms >= 290 && ms < 700);
    sl_script_free(s);
}

/* Many short runs are not one long one. */
static void test_short_runs(void)
{
    struct sl_script *s =
        test_load("return { on_request = function() for i = 1, 10000 do local x = i * i end end }");
    struct sl_verdict v;
    uint64_t begin = cpu_ms();

    while (cpu_ms() - begin < 300) {
        run(s, &v);
        sl_check(v.kind == SL_VERDICT_NONE);
    }
    sl_script_free(s);
}

/* When nobody runs Lua the watchdog sleeps, and the next run wakes it. */
static void test_sleep(void)
{
    uint64_t begin = sl_clock_ns();
    struct sl_script *s = test_load("return { on_request = function() while true do end end }");
    struct sl_verdict v;

    while (!atomic_load(&sl_watchdog_sleeps) && sl_clock_ns() - begin < 20000000000u)
        sched_yield();
    sl_check(atomic_load(&sl_watchdog_sleeps));
    sl_check(run(s, &v) < 400 && v.kind == SL_VERDICT_ERROR);
    sl_check(!atomic_load(&sl_watchdog_sleeps));
    sl_script_free(s);
}

static void test_memory(void)
{
    struct sl_script *s =
        test_load("local keep return { memory_mb = 8, budget_ms = 5000, on_request = function(req)"
                  " if req:id() == 7 then keep = {} for i = 1, 1e9 do keep[i] = { i } end end end,"
                  " on_response = function() keep = nil end }");
    struct test_exchange t;
    struct sl_verdict v;
    size_t cap;

    test_exchange_init(&t);
    for (int i = 0; i < 5; i++) {
        t.ex.id = 7;
        sl_check(test_on_request(&t, s, &v) == 0 && v.kind == SL_VERDICT_ERROR);
        sl_check(sl_script_memory(s, &cap) <= cap + (1u << 20)); /* and the reserve */
        sl_script_hooks(s)->on_response(s, &t.slot, &t.ex, &t.res, SL_STR("a:1"), &v);
        sl_check(v.kind == SL_VERDICT_NONE);
        t.ex.id = 8;
        sl_check(test_on_request(&t, s, &v) == 0 && v.kind == SL_VERDICT_NONE);
    }
    test_exchange_clear(&t, s);
    sl_script_free(s);
}

/* A script may keep most of its memory and make garbage beside it. */
static void test_garbage(void)
{
    struct sl_script *s = test_load("local keep = {} for i = 1, 150000 do keep[i] = { i } end "
                                    "return { memory_mb = 32, budget_ms = 1000,"
                                    " on_request = function() local t = {} for i = 1, 2000 do t[i] "
                                    "= { i } end return #keep < 1 or nil end }");
    struct sl_verdict v;

    for (int i = 0; i < 1500; i++) {
        run(s, &v);
        sl_check(v.kind == SL_VERDICT_NONE);
        if (v.kind != SL_VERDICT_NONE)
            break;
    }
    sl_script_free(s);
}

/* Runs fn in a child and returns what it wrote on stderr; `*status` as of waitpid(). */
static const char *in_child(void (*fn)(void), int *status)
{
    static char out[8192];
    size_t n = 0;
    ssize_t got;
    int fds[2];
    pid_t pid;

    sl_check(pipe(fds) == 0);
    pid = fork();
    if (pid == 0) {
        dup2(fds[1], STDERR_FILENO);
        close(fds[0]);
        fn();
        _exit(0);
    }
    close(fds[1]);
    while (n < sizeof(out) - 1 && (got = read(fds[0], out + n, sizeof(out) - 1 - n)) > 0)
        n += (size_t)got;
    out[n] = '\0';
    close(fds[0]);
    sl_check(waitpid(pid, status, 0) == pid);
    return out;
}

static void run_compiled_loop(void)
{
    struct sl_script *s =
        test_load("local function spin() local x = 0 while true do x = x + 1 end end\n"
                  "return { jit = true, on_request = function() spin() end }");
    struct sl_verdict v;

    run(s, &v);
}

/* A compiled loop sees no hook: the process ends, and says where. */
static void test_hard_limit(void)
{
    int status;
    const char *said = in_child(run_compiled_loop, &status);

    sl_check(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    sl_check(strstr(said, "a script did not return to the runtime, which ends now") != NULL);
    sl_check(strstr(said, "policy.lua:1") != NULL);
}

int main(void)
{
#ifdef SLUICE_TSAN
    fprintf(stderr, "skipped: TSan holds signals back while no code of its own runs, so that "
                    "nothing stops Lua\n");
    return 0;
#endif
    test_begin();
    test_hard_limit(); /* first: the child of a process with threads would have no watchdog */
    test_loops();
    test_patterns();
    test_limit_of_patterns();
    test_own_budget();
    test_short_runs();
    test_sleep();
    test_memory();
    test_garbage();
    return test_end();
}
