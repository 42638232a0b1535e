/* What a key signs for names: requests and self-signed certificates. */
#include "base/clock.h"
#include "script/key.h"
#include "tls/issue.h"

enum { DAYS = 90, DAYS_MAX = 3650 };

/* The names at `arg`, a list or one string; they live as long as the value is on the stack. */
static size_t read_names(lua_State *L, int arg, struct sl_str names[SL_ISSUE_NAMES_MAX])
{
    size_t n;

    if (lua_type(L, arg) == LUA_TSTRING) {
        names[0] = sl_arg_str(L, arg);
        return 1;
    }
    luaL_checktype(L, arg, LUA_TTABLE);
    n = lua_objlen(L, arg);
    luaL_argcheck(L, n >= 1 && n <= SL_ISSUE_NAMES_MAX, arg, "1 to 100 names expected");
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, arg, (int)i + 1);
        luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING, arg, "a list of strings expected");
        names[i] = sl_arg_str(L, -1);
        lua_pop(L, 1); /* the list holds it */
    }
    return n;
}

static int push_result(lua_State *L, struct sl_buf *room, int rc, const struct sl_err *err)
{
    if (rc < 0)
        return sl_push_failure(L, err->text);
    lua_pushlstring(L, (const char *)sl_buf_at(room), sl_buf_len(room));
    sl_room_done(room);
    return 1;
}

int sl_key_csr(lua_State *L)
{
    const struct sl_key *key = sl_arg_private_key(L, 1);
    struct sl_str names[SL_ISSUE_NAMES_MAX];
    size_t n = read_names(L, 2, names);
    struct sl_buf *room = sl_room(L);
    struct sl_err err;
    int rc = sl_issue_csr(room, key, names, n, &err);

    return push_result(L, room, rc, &err);
}

int sl_key_self_signed(lua_State *L)
{
    static const char *const options[] = {"days", "acme_identifier", NULL};
    const struct sl_key *key = sl_arg_private_key(L, 1);
    struct sl_str names[SL_ISSUE_NAMES_MAX], identifier;
    struct sl_issue what = {.names = names, .now = (int64_t)(sl_clock_wall_ms() / 1000)};
    struct sl_buf *room;
    struct sl_err err;
    int rc;

    what.n_names = read_names(L, 2, names);
    sl_arg_options(L, 3, options);
    what.days = (int)sl_opt_int(L, 3, "days", 1, DAYS_MAX, DAYS);
    identifier = sl_opt_str(L, 3, "acme_identifier", SL_STR_NONE);
    luaL_argcheck(L, identifier.p == NULL || identifier.len == SL_ACME_IDENTIFIER_LEN, 3,
                  "acme_identifier: 32 bytes expected");
    what.acme_identifier = (const uint8_t *)identifier.p;
    room = sl_room(L);
    rc = sl_issue_self_signed(room, key, &what, &err);
    return push_result(L, room, rc, &err);
}
