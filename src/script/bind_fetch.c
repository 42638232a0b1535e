/* sluice.fetch: one request to anywhere, through the HTTP client and the connection pool of this
 * thread. */
#include "script/fetch.h"
#include "script/url.h"

/* Holds a fetch while its arguments are read, which may throw. */
static int guard_gc(lua_State *L)
{
    struct sl_fetch **guard = lua_touserdata(L, 1);

    if (*guard != NULL)
        sl_fetch_end(*guard);
    *guard = NULL;
    return 0;
}

static int fetch_(lua_State *L)
{
    const struct sl_script_services *services = sl_script_services(sl_script_of(L));
    struct sl_str text = sl_arg_str(L, 1);
    struct sl_task *task = sl_task_must_wait(L, "sluice.fetch");
    struct sl_fetch **guard, *f;
    struct sl_url url;

    sl_need_service(L, services->pool != NULL, "sluice.fetch");
    sl_arg_options(L, 2, sl_fetch_option_names);
    lua_settop(L, 2);
    if (lua_isnil(L, 2)) {
        lua_createtable(L, 0, 0);
        lua_replace(L, 2);
    }
    if (sl_url_parse(text, &url) < 0)
        return sl_push_failure(L, "not an http or https URL");
    guard = sl_object_new(L, "fetch", sizeof(*guard));
    f = *guard = sl_fetch_new(sl_script_of(L));
    if (f == NULL)
        return sl_push_failure(L, "too many fetches at a time");
    f->pool = services->pool;
    sl_fetch_read_args(L, f, &url);
    *guard = NULL;
    sl_fetch_start(f, task);
    return sl_task_wait(task, sl_fetch_cancel, f);
}

void sl_bind_fetch(lua_State *L)
{
    static const struct luaL_Reg functions[] = {{"fetch", fetch_}, {NULL, NULL}};
    static const struct luaL_Reg methods[] = {{NULL, NULL}};

    sl_bind_functions(L, functions);
    sl_bind_class(L, "fetch", methods, guard_gc);
    sl_bind_response(L);
}
