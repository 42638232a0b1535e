/* The process and the script's place in it: env, args, exit, drain, version, worker, check. */
#include <stdlib.h>
#include "script/library.h"

static int env(lua_State *L)
{
    lua_pushstring(L, getenv(luaL_checkstring(L, 1)));
    return 1;
}

static int exit_(lua_State *L)
{
    const struct sl_script_services *services = sl_script_services(sl_script_of(L));
    int code = (int)sl_arg_opt_int(L, 1, 0, 255, 0);

    sl_need_service(L, services->exit != NULL, "sluice.exit");
    services->exit(services->user, code);
    return 0;
}

static int drain(lua_State *L)
{
    const struct sl_script_services *services = sl_script_services(sl_script_of(L));

    sl_need_service(L, services->drain != NULL, "sluice.drain");
    services->drain(services->user);
    return 0;
}

static int worker(lua_State *L)
{
    unsigned n = sl_script_worker(sl_script_of(L));

    if (n == 0)
        return 0;
    lua_pushinteger(L, n);
    return 1;
}

static void bind_args(lua_State *L)
{
    const char *const *args = sl_script_args(sl_script_of(L));

    lua_createtable(L, 0, 0);
    for (int i = 0; args[i] != NULL; i++) {
        lua_pushstring(L, args[i]);
        lua_rawseti(L, -2, i + 1);
    }
    sl_bind_value(L, "args");
}

void sl_bind_process(lua_State *L)
{
    static const struct luaL_Reg functions[] = {
        {"env", env}, {"exit", exit_}, {"drain", drain}, {"worker", worker}, {NULL, NULL}};

    sl_bind_functions(L, functions);
    bind_args(L);
    lua_pushliteral(L, SLUICE_VERSION);
    sl_bind_value(L, "version");
    lua_pushboolean(L, sl_script_is_check(sl_script_of(L)));
    sl_bind_value(L, "check");
}
