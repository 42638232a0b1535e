#include "script/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * Two module systems that do not mix. A module of lua/sluice sees the trusted environment and finds
 * modules of that folder and Lua's own. Policy code finds the modules of lua/sluice, files beside
 * the script, which become policy code, and what was granted. Nobody finds C modules.
 */

enum { FILE_MAX = 16 * 1024 * 1024 };

/* Reads at most `room` bytes; their number, or -1 with errno. */
static ssize_t read_file(const char *path, char *bytes, size_t room)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = 0;
    size_t len = 0;
    int saved;

    if (fd < 0)
        return -1;
    while (len < room && (n = read(fd, bytes + len, room - len)) > 0)
        len += (size_t)n;
    saved = errno;
    close(fd);
    errno = saved;
    return n < 0 ? -1 : (ssize_t)len;
}

static bool push_no_file(lua_State *L, const char *why)
{
    lua_pushnil(L);
    lua_pushstring(L, why);
    return false;
}

/* The room is taken before the file is opened, since taking it may throw. */
bool sl_push_file(lua_State *L, const char *path)
{
    struct stat st;
    char *bytes;
    ssize_t n;

    if (stat(path, &st) < 0)
        return push_no_file(L, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return push_no_file(L, "not a file");
    if (st.st_size > FILE_MAX)
        return push_no_file(L, "the file is longer than 16 MiB");
    bytes = lua_newuserdata(L, (size_t)st.st_size + 1);
    n = read_file(path, bytes, (size_t)st.st_size);
    if (n < 0) {
        lua_pop(L, 1);
        return push_no_file(L, strerror(errno));
    }
    lua_pushlstring(L, bytes, (size_t)n);
    lua_remove(L, -2);
    return true;
}

/* Letters, digits, "_" and "-", in parts with a dot between: nothing that climbs out of a folder.
 */
static void check_name(lua_State *L, const char *name)
{
    bool in_part = false;

    for (const char *p = name; *p != '\0'; p++) {
        bool ok = (*p >= '0' && *p <= '9') || ((*p | 32) >= 'a' && (*p | 32) <= 'z') || *p == '_' ||
                  *p == '-';

        if (!ok && !(*p == '.' && in_part))
            luaL_error(L, "\"%s\" is not a name of a module", name);
        in_part = ok;
    }
    if (!in_part)
        luaL_error(L, "\"%s\" is not a name of a module", name);
}

/* Pushes path and text of the first of DIR/a/b.lua and DIR/a/b/init.lua that exists; else throws.
 */
static void push_module_text(lua_State *L, const char *dir, const char *name)
{
    static const char *const forms[] = {"%s/%s.lua", "%s/%s/init.lua"};
    const char *relative = luaL_gsub(L, name, ".", "/");

    for (size_t i = 0; i < SL_COUNT(forms); i++) {
        lua_pushfstring(L, forms[i], dir, relative);
        if (sl_push_file(L, lua_tostring(L, -1))) {
            lua_remove(L, -3);
            return;
        }
        lua_pop(L, 3);
    }
    luaL_error(L, "module \"%s\" not found: there is no %s/%s.lua and no %s/%s/init.lua", name, dir,
               relative, dir, relative);
}

/* Runs the chunk on top of the stack and enters what it returns into the table at `loaded`, where
 * false means: being loaded. */
static void run_module(lua_State *L, int loaded, const char *name)
{
    lua_pushboolean(L, 0);
    lua_setfield(L, loaded, name);
    lua_pushstring(L, name);
    if (lua_pcall(L, 1, 1, 0) != 0) {
        lua_pushnil(L);
        lua_setfield(L, loaded, name);
        lua_error(L);
    }
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_pushboolean(L, 1);
    }
    lua_pushvalue(L, -1);
    lua_setfield(L, loaded, name);
}

/* Pushes the table of loaded modules and the module, if it is there. */
static bool push_loaded(lua_State *L, int ref, const char *name)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, ref);
    lua_getfield(L, -1, name);
    if (lua_isboolean(L, -1) && !lua_toboolean(L, -1))
        luaL_error(L, "module \"%s\" requires itself, by way of others perhaps", name);
    if (!lua_isnil(L, -1))
        return true;
    lua_pop(L, 1);
    return false;
}

/* Lua keeps functions for some modules that it does not open by itself (ffi, table.new), and we one
 * for sluice.core. */
static bool push_preload(lua_State *L, const char *name)
{
    struct sl_script *s = sl_script_fast(L);

    lua_rawgeti(L, LUA_REGISTRYINDEX, s->trusted_env);
    lua_getfield(L, -1, "package");
    lua_getfield(L, -1, "preload");
    lua_getfield(L, -1, name);
    lua_replace(L, -4);
    lua_pop(L, 2);
    if (!lua_isnil(L, -1))
        return true;
    lua_pop(L, 1);
    return false;
}

static void load_trusted(lua_State *L, const char *name)
{
    struct sl_script *s = sl_script_fast(L);
    const char *text;
    size_t len;

    check_name(L, name);
    push_module_text(L, s->lua_dir, name);
    text = lua_tolstring(L, -1, &len);
    lua_pushfstring(L, "@%s", lua_tostring(L, -2));
    if (luaL_loadbufferx(L, text, len, lua_tostring(L, -1), "t") != 0)
        lua_error(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->trusted_env);
    lua_setfenv(L, -2);
}

void sl_require_trusted(lua_State *L, const char *name)
{
    int base = lua_gettop(L);

    luaL_checkstack(L, 16, "too many modules that require each other");
    if (!push_loaded(L, sl_script_fast(L)->trusted_loaded, name)) {
        if (!push_preload(L, name))
            load_trusted(L, name);
        run_module(L, base + 1, name);
    }
    lua_replace(L, base + 1);
    lua_settop(L, base + 1);
}

static int require_trusted(lua_State *L)
{
    sl_require_trusted(L, luaL_checkstring(L, 1));
    return 1;
}

static void load_policy(lua_State *L, const char *name)
{
    const char *text;
    size_t len;

    check_name(L, name);
    push_module_text(L, sl_script_fast(L)->dir, name);
    text = lua_tolstring(L, -1, &len);
    lua_pushfstring(L, "@%s", lua_tostring(L, -2));
    if (!sl_sandbox_load(L, text, len, lua_tostring(L, -1)))
        lua_error(L);
}

static bool is_of_sluice(const char *name)
{
    return strcmp(name, "sluice") == 0 || strncmp(name, "sluice.", 7) == 0;
}

static int require_policy(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);

    lua_settop(L, 1);
    if (push_loaded(L, sl_script_fast(L)->policy_loaded, name))
        return 1;
    if (strcmp(name, "sluice.core") == 0)
        return luaL_error(L, "\"sluice.core\" is for the modules of sluice; require \"sluice\"");
    if (is_of_sluice(name)) {
        sl_require_trusted(L, name);
    } else if (sl_sandbox_is_grantable(name)) {
        sl_sandbox_push_granted(L, name);
    } else {
        load_policy(L, name);
        run_module(L, 2, name);
    }
    return 1;
}

/* The policy's `package`: a table to look at, and to empty entries of. What it finds there at first
 * are its own copies. */
static void fill_policy_package(lua_State *L, int policy)
{
    static const char *const names[] = {"_G", "bit", "coroutine", "math", "string", "table", NULL};
    struct sl_script *s = sl_script_fast(L);

    lua_newtable(L);
    lua_newtable(L);
    for (const char *const *name = names; *name != NULL; name++) {
        lua_getfield(L, policy, *name);
        lua_setfield(L, -2, *name);
    }
    lua_pushvalue(L, -1);
    s->policy_loaded = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_setfield(L, -2, "loaded");
    lua_pushfstring(L, "%s/?.lua;%s/?/init.lua", s->dir, s->dir);
    lua_setfield(L, -2, "path");
    lua_pushliteral(L, "");
    lua_setfield(L, -2, "cpath");
    lua_pushstring(L, "package");
    lua_insert(L, -2);
    lua_rawset(L, policy);
}

static void set_raw(lua_State *L, int env, const char *name, lua_CFunction fn)
{
    lua_pushstring(L, name);
    lua_pushcfunction(L, fn);
    lua_rawset(L, env);
}

void sl_require_open(lua_State *L)
{
    struct sl_script *s = sl_script_fast(L);
    int base = lua_gettop(L);

    lua_rawgeti(L, LUA_REGISTRYINDEX, s->trusted_env);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->policy_env);
    lua_getfield(L, base + 1, "package");
    lua_pushnil(L);
    lua_setfield(L, -2, "loadlib");
    lua_getfield(L, -1, "loaded");
    s->trusted_loaded = luaL_ref(L, LUA_REGISTRYINDEX);
    set_raw(L, base + 1, "require", require_trusted);
    set_raw(L, base + 2, "require", require_policy);
    fill_policy_package(L, base + 2);
    lua_settop(L, base);
}
