#include "script/bind.h"
#include "script/internal.h"

/* The methods of a response; its headers are in bind_headers.c. target() is that of a request, too.
 */

static int res_status(lua_State *L)
{
    lua_pushinteger(L, sl_handle_check(L, 1, SL_ON_RES)->res->status);
    return 1;
}

/* 101 and bodiless statuses are the target's to say: a body is on its way that fits the status that
 * it sent. */
static bool has_body(int status)
{
    return status >= 200 && status != 204 && status != 304;
}

static int res_set_status(lua_State *L)
{
    struct sl_response *res = sl_handle_check(L, 1, SL_ON_RES)->res;
    int status = (int)sl_arg_int(L, 2, 200, 599);

    if (has_body(status) != has_body(res->status))
        return luaL_error(
            L, "set_status: %d cannot stand for %d: one has a body and the other has none", status,
            res->status);
    res->status = status;
    return 0;
}

void sl_bind_res(lua_State *L)
{
    static const struct luaL_Reg methods[] = {
        {"set_status", res_set_status},
        {"status", res_status},
        {NULL, NULL},
    };

    sl_bind_methods(L, methods);
}
