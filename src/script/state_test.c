/* Loading, the sandbox, the module loader, and the checks of the script table. */
#include "script/test_script.h"

/* Loads a script whose body holds this code; what it asserts holds. */
static void check_lua(const char *code)
{
    char text[4096];

    snprintf(text, sizeof(text), "%s\nreturn {}", code);
    sl_script_free(test_load(text));
}

static void test_table(void)
{
    sl_script_free(test_load("return {}"));
    test_refuse("return 5",
                "policy.lua: a script returns a table of its hooks (return policy), not a number");
    test_refuse("", "not a nil");
    test_refuse("return { on_reqest = function() end }",
                "unknown key \"on_reqest\"; did you mean \"on_request\"?");
    test_refuse("return { zzz = 1 }", "unknown key \"zzz\"");
    test_refuse("return { 1 }", "the script table has a number as key");
    test_refuse("return { on_request = 5 }", "on_request must be a function, not a number");
    test_refuse("return { on_error = 'ignore' }",
                "on_error must be \"reject\" or \"continue\", not \"ignore\"");
    test_refuse("return { budget_ms = 0 }", "budget_ms: 0 is not a number from 1 to 60000");
    test_refuse("return { memory_mb = 1e9 }", "memory_mb");
    test_refuse("return { limits = { [1] = 2 } }", "limits: a number is not the name of a limit");
    test_refuse("return { limits = { a = print } }", "limits.a: a string expected, got a function");
}

static void test_errors(void)
{
    struct sl_script *s = NULL;
    struct sl_script_opts opts = {.loop = test_loop, .path = "/does/not/exist.lua"};
    struct sl_err err;

    test_refuse("return {", "policy.lua:1:");
    test_refuse("\nerror('no')", "policy.lua:2: no");
    test_refuse("error({})", "the error is not a string");
    test_refuse("require('sluice').spawn(print):wait()",
                "task:wait cannot be called in load (only in: on_hello, ");
    sl_check(sl_script_load(&s, &opts, &err) == SL_E_SCRIPT && s == NULL);
    sl_check(strstr(err.text, "/does/not/exist.lua: No such file") != NULL);
}

static void test_limits_table(void)
{
    struct sl_script *s =
        test_load("return { limits = { a = 5, b = true, c = 'x', d = { 'y', 'z' } } }");
    size_t n, seen = 0;
    const struct sl_setting *limits = sl_script_limits(s, &n);

    sl_check(n == 4);
    for (size_t i = 0; i < n; i++) {
        const struct sl_setting *l = &limits[i];

        seen += l->name.p[0] == 'a' && l->kind == SL_SETTING_NUMBER && l->number == 5;
        seen += l->name.p[0] == 'b' && l->kind == SL_SETTING_BOOL && l->number == 1;
        seen += l->name.p[0] == 'c' && l->kind == SL_SETTING_STRING &&
                sl_str_eq(l->strings[0], SL_STR("x"));
        seen += l->name.p[0] == 'd' && l->kind == SL_SETTING_STRINGS && l->n_strings == 2;
    }
    sl_check(seen == 4);
    sl_script_free(s);
}

/* Attack L-07: what a script can reach is what the sandbox gives. */
static void test_sandbox(void)
{
    check_lua("for _, name in ipairs { 'io', 'debug', 'ffi', 'jit', 'module', 'dofile', "
              "'loadfile', 'newproxy', 'getfenv',"
              " 'setfenv', 'gcinfo' } do assert(_G[name] == nil, name) end");
    check_lua(
        "for _, name in ipairs { 'execute', 'remove', 'rename', 'exit', 'tmpname', 'setlocale' } do"
        " assert(os[name] == nil, name) end");
    check_lua("assert(os.time() > 0 and os.date('%Y') and os.clock() >= 0 and os.getenv('PATH'))");
    check_lua("assert(string.dump == nil and (''):rep(1) == '' and package.loadlib == nil)");
    check_lua("assert(not pcall(require, 'ffi.x'))");
    check_lua(
        "for _, m in ipairs { 'posix', 'socket.core', 'cjson', '../x', 'a/b', '', '.', 'a..b' } do"
        " assert(not pcall(require, m), m) end");
    check_lua("assert(getmetatable('') == 'string')");
    check_lua("assert(not pcall(setmetatable, _G, {}))");
    check_lua("assert(not pcall(collectgarbage, 'stop')); assert(collectgarbage() > 0 and "
              "collectgarbage('count') > 0)");
    check_lua("local ok, err = pcall(require, 'sluice.core'); assert(not ok and err:find('for the "
              "modules of sluice', 1, true))");
}

static void test_load_function(void)
{
    check_lua("assert(load('return 1 + 1')() == 2 and loadstring('return 3')() == 3)");
    check_lua(
        "local f, err = load('return (', '=x'); assert(f == nil and err:find('x:1:', 1, true))");
    check_lua("local n = 0; assert(load(function() n = n + 1; return n == 1 and 'return ' or n == "
              "2 and '7' or nil end)() == 7)");
    check_lua("assert(load('return x', 'x', 't', { x = 4 })() == 4)");
    check_lua("local f, err = load('\\27LJ\\2', 'x'); assert(f == nil)");
    check_lua("assert(load('return 1', 'x', 'b') == nil)");
    check_lua("assert(load('return io')() == nil)");
}

static void test_globals(void)
{
    test_refuse("x = 1 return {}", "policy.lua:1: assignment to the undeclared global \"x\"");
    check_lua("assert(x == nil); rawset(_G, 'x', 1); x = 2; assert(x == 2)");
    /* What a script does to its libraries stays with it. */
    check_lua("string.find = nil; table.concat = nil; local t = require 'sluice.verbs'; "
              "assert(t.deny().status == 403)");
}

static void test_grants(void)
{
    sl_script_free(test_load(
        "local ffi = require 'ffi' return { grants = { 'ffi', 'io', 'os' }, check = function()"
        " assert(ffi.cdef and io.open and os.execute) end }"));
    test_refuse("require 'ffi' return {}",
                "requires \"ffi\", which it must name: grants = { \"ffi\" }");
    test_refuse("return { grants = { 'net' } }",
                "grants: \"net\" cannot be granted (only: io, os, ffi, debug)");
    test_refuse("return { grants = { 5 } }", "grants[1] must be a string, not a number");
    test_refuse("local io = require 'io' io.open('x') return { grants = { 'io' } }",
                "io can be used when the script has");
}

/* A granted module is whole once the script has loaded, also under the name that it was required
 * by. */
static void test_grants_work(void)
{
    struct sl_script *s = test_load("local ffi = require 'ffi' local dbg = require 'debug' return "
                                    "{ grants = { 'ffi', 'debug' },"
                                    " on_request = function(req) ffi.cdef 'int getpid(void);'"
                                    " req:set_header('x', tostring(ffi.C.getpid()))"
                                    " assert(dbg.traceback() and ffi == _G.ffi) end }");
    struct test_exchange t;
    struct sl_verdict v;
    char pid[32];

    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    test_exchange_init(&t);
    sl_check(test_on_request(&t, s, &v) == 0 && v.kind == SL_VERDICT_NONE);
    sl_check_str(test_header(&t.ex.req.headers, "x"), sl_str_c(pid));
    test_exchange_clear(&t, s);
    sl_script_free(s);
}

static void test_modules(void)
{
    test_write("helper.lua",
               "local other = require 'other' return { n = other.n + 1, name = ... }");
    test_write("other.lua", "return { n = 1 }");
    test_write("loop1.lua", "require 'loop2'");
    test_write("loop2.lua", "require 'loop1'");
    test_write("bad.lua", "error 'bad module'");
    test_write("global.lua", "oops = 1");
    check_lua("local h = require 'helper'; assert(h.n == 2 and h.name == 'helper' and require "
              "'helper' == h)");
    check_lua("assert(package.loaded.other == nil); require 'other'; assert(package.loaded.other.n "
              "== 1)");
    test_refuse("require 'loop1'", "module \"loop1\" requires itself");
    test_refuse("require 'bad'", "bad.lua:1: bad module");
    check_lua("assert(not pcall(require, 'bad')); local _, err = pcall(require, 'bad'); "
              "assert(err:find('bad module'))");
    test_refuse("require 'global'", "global.lua:1: assignment to the undeclared global");
    test_refuse("require 'none'", "module \"none\" not found: there is no ");
    check_lua("assert(require('sluice') == require('sluice') and require('sluice.verbs').deny)");
    for (const char *const *name =
             (const char *const[]){"helper.lua", "other.lua", "loop1.lua", "loop2.lua", "bad.lua",
                                   "global.lua", NULL};
         *name != NULL; name++)
        unlink(test_path(*name));
}

/* Attack L-05, and memory: the state survives what a script does to it. */
static void test_bounds(void)
{
    check_lua("local function f() return f() + 1 end; local ok, err = pcall(f); assert(not ok and "
              "err:find('stack overflow'))");
    check_lua("local function f(t) return f({ t }) end local t = setmetatable({}, { __index = "
              "function(t, k) return t[k .. 'x'] end })"
              " assert(not pcall(function() return t.x end))");
    check_lua("local ok, err = pcall(string.rep, 'x', 2e9); assert(not ok and err == 'not enough "
              "memory', err)");
    check_lua("assert(not pcall(string.format, '%99999s', 'x'))");
    check_lua("local t = {} local ok = pcall(function() while true do t[#t + 1] = ('x'):rep(1e6) "
              ".. #t end end)"
              " assert(not ok); t = nil");
    check_lua("local s = ('x'):rep(1e6); local t = {} for i = 1, 5000 do t[i] = s end assert(not "
              "pcall(table.concat, t))");
    test_refuse("local t = {} for i = 1, 1e6 do t[i] = {} end return { memory_mb = 8, check = "
                "function() return t end }",
                "memory_mb is too little");
}

static void test_args(void)
{
    const char *const args[] = {"one", "two", NULL};
    struct sl_script_opts opts = {
        .loop = test_loop, .kind = SL_SCRIPT_WORKER, .worker = 3, .args = args, .is_check = true};
    struct sl_script *s = NULL;
    struct sl_err err;
    size_t cap;

    test_write("policy.lua", "return { memory_mb = 16 }");
    opts.path = test_path("policy.lua");
    sl_check(sl_script_load(&s, &opts, &err) == 0);
    unlink(test_path("policy.lua"));
    sl_check(sl_script_kind(s) == SL_SCRIPT_WORKER && sl_script_worker(s) == 3 &&
             sl_script_is_check(s));
    sl_check(strcmp(sl_script_args(s)[1], "two") == 0 && sl_script_args(s)[2] == NULL);
    sl_check(sl_script_memory(s, &cap) > 0 && cap == 16u << 20);
    sl_script_free(s);
}

int main(void)
{
    test_begin();
    test_table();
    test_errors();
    test_limits_table();
    test_sandbox();
    test_load_function();
    test_globals();
    test_grants();
    test_grants_work();
    test_modules();
    test_bounds();
    test_args();
    return test_end();
}
