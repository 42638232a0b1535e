#include "script/json.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/check.h"

static lua_State *L;
static struct sl_buf room, out;

enum { ARRAY_MT = 1 }; /* its place on the stack, throughout */

static int decode(struct sl_str text, struct sl_err *err)
{
    /* A copy of exactly this length and a NUL, so that a sanitizer sees every byte too far. */
    char *copy = sl_strndup(text.p, text.len);
    int rc = sl_json_decode(L, sl_str(copy, text.len), ARRAY_MT, &room, err);

    sl_free(copy);
    return rc;
}

/* Text -> value -> text. */
static void through(const char *text, const char *want)
{
    struct sl_err err = {0};

    sl_check(decode(sl_str_c(text), &err) == 0);
    if (lua_gettop(L) == ARRAY_MT) {
        fprintf(stderr, "%s: %s\n", text, err.text);
        return;
    }
    sl_buf_reset(&out);
    sl_check(sl_json_encode(L, lua_gettop(L), ARRAY_MT, &out, &err) == 0);
    sl_check_str(sl_buf_str(&out), sl_str_c(want));
    lua_settop(L, ARRAY_MT);
}

static void same(const char *text)
{
    through(text, text);
}

static void refused(struct sl_str text, const char *why)
{
    struct sl_err err = {0};

    sl_check(decode(text, &err) == SL_E_PROTOCOL);
    sl_check(lua_gettop(L) == ARRAY_MT);
    if (strstr(err.text, why) == NULL) {
        sl_check(!"refused for the right reason");
        fprintf(stderr, "%.*s: %s\n", SL_STR_FMT(text), err.text);
    }
    lua_settop(L, ARRAY_MT);
}

static void values(void)
{
    same("null");
    same("true");
    same("false");
    same("\"\"");
    same("[]");
    same("{}");
    same("[[],{},[{}]]");
    same("[1,2,3]");
    same("{\"a\":[true,null]}");
    same("[null]");
    same("[null,null,1]");
    through(" \t\r\n[ 1 , { \"a\" : 2 } ] \n", "[1,{\"a\":2}]");
    through("{\"a\":1,\"a\":2}", "{\"a\":2}");
}

static void numbers(void)
{
    same("0");
    same("-1");
    same("9007199254740991");
    same("-9007199254740991");
    same("1.5");
    same("0.1");
    same("1e+300");
    through("5e-324", "4.94065645841247e-324");
    same("0.30000000000000004");
    same("1700000000.123456");
    through("1E2", "100");
    through("1e-2", "0.01");
    through("-0", "-0");
    through("9007199254740993", "9007199254740992"); /* beyond 2^53 doubles have gaps */
    through("12345678901234567", "12345678901234568");
    refused(SL_STR("01"), "bad number");
    refused(SL_STR("-"), "bad number");
    refused(SL_STR("1."), "bad number");
    refused(SL_STR("-01"), "bad number");
    refused(SL_STR("1e"), "bad number");
    refused(SL_STR("1e+"), "bad number");
    refused(SL_STR("1e999"), "out of range");
    refused(SL_STR(".5"), "expected a value");
    refused(SL_STR("+1"), "expected a value");
    refused(SL_STR("NaN"), "expected a value");
    refused(SL_STR("Infinity"), "expected a value");
    refused(SL_STR("-Infinity"), "bad number");
    refused(SL_STR("0x10"), "unexpected text");
}

static void strings(void)
{
    same("\"a\\\"\\\\b\"");
    same("\"\\b\\f\\n\\r\\t\\u0001\\u007f\"");
    same("\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"");
    through("\"\\/\"", "\"/\"");
    through("\"\\u00e4\\u20ac\\ud83d\\ude00\"", "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"");
    through("\"\\u0041x\\u0042\"", "\"AxB\"");
    through("\"a\\u0000b\"", "\"a\\u0000b\"");
    refused(SL_STR("\"a"), "without an end");
    refused(SL_STR("\"a\\"), "without an end");
    refused(SL_STR("\"a\\\""), "without an end");
    refused(SL_STR("\"\\x\""), "bad escape");
    refused(SL_STR("\"\\u12\""), "bad \\u escape");
    refused(SL_STR("\"\\u12G4\""), "bad \\u escape");
    refused(SL_STR("\"\\ud800\""), "lone surrogate");
    refused(SL_STR("\"\\ud800\\u0041\""), "lone surrogate");
    refused(SL_STR("\"\\udc00\""), "lone surrogate");
    refused(SL_STR("\"\\ud800\\"), "lone surrogate");
    refused(SL_STR("\"a\nb\""), "control byte");
    refused(SL_STR("\"a\0b\""), "control byte");
    refused(SL_STR("\"\xff\""), "not UTF-8");
    refused(SL_STR("\"\xc3\""), "not UTF-8");
    refused(SL_STR("\"\xc0\x80\""), "not UTF-8");
    refused(SL_STR("\"\xed\xa0\x80\""), "not UTF-8");
    refused(SL_STR("\"\xf4\x90\x80\x80\""), "not UTF-8");
    refused(SL_STR("\"\xe2\x82"), "not UTF-8");
}

/* Bytes that end a run of plain ones are found wherever they stand, and no others. */
static void strings_of_all_lengths(void)
{
    for (size_t len = 1; len <= 24; len++) {
        for (size_t at = 1; at <= len; at++) {
            for (int c = 0; c < 256; c++) {
                char text[32] = "\"";
                struct sl_err err = {0};
                int rc;

                memset(text + 1, 'x', len);
                text[at] = (char)c;
                text[len + 1] = '"';
                rc = decode(sl_str(text, len + 2), &err);
                if (c >= 0x20 && c < 0x80 && c != '"' && c != '\\') {
                    sl_check(rc == 0);
                    sl_check_str(sl_str_c(lua_tostring(L, -1)), sl_str(text + 1, len));
                } else {
                    sl_check(rc == SL_E_PROTOCOL);
                }
                lua_settop(L, ARRAY_MT);
            }
        }
    }
}

static void shapes(void)
{
    refused(SL_STR(""), "expected a value at byte 1");
    refused(SL_STR("  "), "expected a value at byte 3");
    refused(SL_STR("nul"), "expected a value");
    refused(SL_STR("truE"), "expected a value");
    refused(SL_STR("[1 2]"), "expected , or ]");
    refused(SL_STR("[1,]"), "expected a value");
    refused(SL_STR("[1"), "expected , or ]");
    refused(SL_STR("{\"a\"}"), "expected :");
    refused(SL_STR("{\"a\":1,}"), "expected a key");
    refused(SL_STR("{a:1}"), "expected a key");
    refused(SL_STR("{\"a\":1"), "expected , or }");
    refused(SL_STR("1 2"), "unexpected text after the value at byte 3");
    refused(SL_STR("1\0"), "unexpected text");
    refused(SL_STR("[]]"), "unexpected text");
    refused(SL_STR("// c\n1"), "expected a value");
}

static void depth(void)
{
    char text[2 * SL_JSON_MAX_DEPTH + 3] = {0};

    memset(text, '[', SL_JSON_MAX_DEPTH);
    memset(text + SL_JSON_MAX_DEPTH, ']', SL_JSON_MAX_DEPTH);
    same(text);
    memset(text, '[', SL_JSON_MAX_DEPTH + 1);
    refused(sl_str_c(text), "nested too deeply");
}

/* What a Lua expression becomes, or why it does not. */
static void encodes(const char *lua, const char *want, const char *why)
{
    struct sl_err err = {0};
    int rc;

    sl_check(luaL_loadstring(L, lua) == 0);
    lua_pushvalue(L, ARRAY_MT);
    lua_call(L, 1, 1);
    sl_buf_reset(&out);
    rc = sl_json_encode(L, ARRAY_MT + 1, ARRAY_MT, &out, &err);
    sl_check(lua_gettop(L) == ARRAY_MT + 1);
    sl_check(rc == (want != NULL ? 0 : SL_E_CONFIG));
    if (want != NULL)
        sl_check_str(sl_buf_str(&out), sl_str_c(want));
    else if (strstr(err.text, why) == NULL)
        sl_check_str(sl_str_c(err.text), sl_str_c(why));
    lua_settop(L, ARRAY_MT);
}

static void from_lua(void)
{
    encodes("return {}", "{}", NULL);
    encodes("return setmetatable({}, ...)", "[]", NULL);
    encodes("return setmetatable({7}, ...)", "[7]", NULL);
    encodes("return {1, 2}", "[1,2]", NULL);
    encodes("return {a = {b = false}}", "{\"a\":{\"b\":false}}", NULL);
    encodes("return 'a\\255b'",
            "\"a\xef\xbf\xbd"
            "b\"",
            NULL);
    encodes("return 2^53", "9007199254740992", NULL);
    encodes("return 0/0", NULL, "NaN has no JSON form");
    encodes("return {1/0}", NULL, "infinity has no JSON form");
    encodes("return print", NULL, "a function has no JSON form");
    encodes("return {a = coroutine.create(print)}", NULL, "a thread has no JSON form");
    encodes("return {1, nil, 3}", NULL, "holes");
    encodes("return {1, x = 2}", NULL, "holes or other keys");
    encodes("return {[1] = 1, [3] = 3}", NULL, "holes");
    encodes("return {[2] = 1}", NULL, "a key of an object is a number");
    encodes("return {[true] = 1}", NULL, "a key of an object is a boolean");
    encodes("return setmetatable({x = 1}, ...)", NULL, "holes or other keys");
    encodes("local t = {} t.t = t return t", NULL, "contain themselves");
    encodes("local t = {} t[1] = t return t", NULL, "contain themselves");
}

int main(void)
{
    L = luaL_newstate();
    luaL_openlibs(L);
    lua_newtable(L);
    values();
    numbers();
    strings();
    strings_of_all_lengths();
    shapes();
    depth();
    from_lua();
    lua_close(L);
    sl_buf_clear(&room);
    sl_buf_clear(&out);
    return sl_check_done();
}
