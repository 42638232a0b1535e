#include "script/intake.h"
#include "script/internal.h"

/*
 * The value that Lua holds: 17 bits slot number, 22 bits generation above. Together they are the 39
 * bits that a light userdata of LuaJIT carries as they are. Generations begin at 1, so that no
 * handle is NULL.
 */
enum { INDEX_BITS = 17, GENERATION_BITS = 22, CHUNK_BITS = 12, CHUNK_LEN = 1 << CHUNK_BITS };
#define NO_SLOT UINT32_MAX

static const char *const kind_names[SL_N_HANDLE_KINDS] = {"handle", "conn", "hello",
                                                          "req",    "res",  "edge"};
static const char *const kind_words[SL_N_HANDLE_KINDS] = {
    "what this handle stood for", "connection", "handshake", "request", "response", "edge"};

/* --- the table --- */

static struct sl_handle_slot *slot_at(const struct sl_handle_table *t, uint32_t index)
{
    return &t->chunks[index >> CHUNK_BITS][index & (CHUNK_LEN - 1)];
}

static void free_slot(struct sl_handle_table *t, uint32_t index)
{
    slot_at(t, index)->next_free = NO_SLOT;
    if (t->first_free == NO_SLOT)
        t->first_free = index;
    else
        slot_at(t, t->last_free)->next_free = index;
    t->last_free = index;
}

static bool grow(struct sl_handle_table *t)
{
    uint32_t first = t->n_slots;

    if (first == SL_HANDLE_MAX)
        return false;
    if (t->chunks == NULL) {
        t->chunks = sl_zalloc((SL_HANDLE_MAX >> CHUNK_BITS) * sizeof(struct sl_handle_slot *));
        t->first_free = NO_SLOT;
    }
    t->chunks[first >> CHUNK_BITS] = sl_zalloc(CHUNK_LEN * sizeof(struct sl_handle_slot));
    t->n_slots += CHUNK_LEN;
    for (uint32_t i = first; i < t->n_slots; i++) {
        slot_at(t, i)->generation = 1;
        free_slot(t, i);
    }
    return true;
}

static struct sl_handle *take_object(struct sl_handle_table *t)
{
    struct sl_handle *h = t->pool;

    if (h == NULL)
        return sl_alloc(sizeof(*h));
    t->pool = h->next_free;
    return h;
}

struct sl_handle *sl_handle_new(struct sl_script *s, enum sl_handle_kind kind)
{
    struct sl_handle_table *t = &s->handles;
    struct sl_handle_slot *slot;
    struct sl_handle *h;
    uint32_t index;

    if ((t->chunks == NULL || t->first_free == NO_SLOT) && !grow(t))
        return NULL;
    index = t->first_free;
    slot = slot_at(t, index);
    t->first_free = slot->next_free;
    h = take_object(t);
    *h = (struct sl_handle){.script = s,
                            .kind = kind,
                            .index = index,
                            .generation = slot->generation,
                            .ctx_ref = LUA_NOREF};
    slot->h = h;
    slot->last_kind = kind;
    t->n_live++;
    return h;
}

void sl_handle_end(struct sl_handle *h)
{
    struct sl_script *s = h->script;
    struct sl_handle_table *t = &s->handles;
    struct sl_handle_slot *slot = slot_at(t, h->index);

    sl_assert(slot->h == h);
    sl_intake_free(h->in);
    if (h->body_task != NULL)
        sl_task_fail_later(h->body_task, "aborted");
    if (h->ctx_ref != LUA_NOREF)
        luaL_unref(s->L, LUA_REGISTRYINDEX, h->ctx_ref);
    slot->last_kind = h->kind;
    slot->h = NULL;
    if (++slot->generation >> GENERATION_BITS != 0)
        slot->generation = 1;
    free_slot(t, h->index);
    h->next_free = t->pool;
    t->pool = h;
    t->n_live--;
    if (SL_UNLIKELY(s->is_retired))
        sl_script_check_gone(s);
}

void sl_handles_clear(struct sl_script *s)
{
    struct sl_handle_table *t = &s->handles;

    for (uint32_t i = 0; i < t->n_slots; i++) {
        struct sl_handle *h = slot_at(t, i)->h;

        if (h != NULL && h->slot != NULL)
            h->slot->script = NULL;
        if (h != NULL)
            sl_intake_free(h->in);
        sl_free(h);
    }
    for (uint32_t i = 0; i < t->n_slots; i += CHUNK_LEN)
        sl_free(t->chunks[i >> CHUNK_BITS]);
    sl_free(t->chunks);
    while (t->pool != NULL) {
        struct sl_handle *h = t->pool;

        t->pool = h->next_free;
        sl_free(h);
    }
    *t = (struct sl_handle_table){0};
}

/* --- on the stack --- */

void sl_handle_push(lua_State *L, const struct sl_handle *h)
{
    lua_pushlightuserdata(L, (void *)((uintptr_t)h->generation << INDEX_BITS | h->index));
}

static struct sl_handle_slot *find_slot(const struct sl_handle_table *t, lua_State *L, int arg,
                                        uint32_t *generation)
{
    uintptr_t value;
    uint32_t index;

    if (lua_type(L, arg) != LUA_TLIGHTUSERDATA)
        return NULL;
    value = (uintptr_t)lua_touserdata(L, arg);
    index = value & (SL_HANDLE_MAX - 1);
    *generation = (uint32_t)(value >> INDEX_BITS);
    return index < t->n_slots ? slot_at(t, index) : NULL;
}

/* The name by which the running function was called. */
static const char *method_name(lua_State *L)
{
    lua_Debug ar;

    if (lua_getstack(L, 0, &ar) && lua_getinfo(L, "n", &ar) && ar.name != NULL)
        return ar.name;
    return "?";
}

static void throw_bad_handle(lua_State *L, int arg, const struct sl_handle_slot *slot,
                             uint32_t generation)
{
    enum sl_handle_kind kind = slot != NULL ? slot->last_kind : SL_HANDLE_FREE;
    const char *method = method_name(L);

    if (slot == NULL)
        luaL_error(L, "%s: a handle expected, got %s (req:%s() with a colon?)", method,
                   luaL_typename(L, arg), method);
    if (slot->h == NULL || slot->generation != generation)
        luaL_error(L, "%s:%s: this %s has ended", kind_names[kind], method, kind_words[kind]);
    luaL_error(L, "%s:%s: not a method of a %s", kind_names[kind], method, kind_words[kind]);
}

struct sl_handle *sl_handle_check(lua_State *L, int arg, unsigned kinds)
{
    uint32_t generation = 0;
    struct sl_handle_slot *slot = find_slot(&sl_script_fast(L)->handles, L, arg, &generation);

    if (SL_UNLIKELY(slot == NULL || slot->generation != generation || slot->h == NULL ||
                    (kinds >> slot->h->kind & 1) == 0))
        throw_bad_handle(L, arg, slot, generation);
    return slot->h;
}

/* --- the metatable of all light userdata --- */

static int handle_tostring(lua_State *L)
{
    uint32_t generation = 0;
    struct sl_handle_slot *slot = find_slot(&sl_script_fast(L)->handles, L, 1, &generation);
    bool is_live = slot != NULL && slot->h != NULL && slot->generation == generation;

    if (lua_touserdata(L, 1) == NULL)
        lua_pushliteral(L, "null"); /* JSON's null is the light userdata NULL */
    else if (slot == NULL)
        lua_pushliteral(L, "handle");
    else if (is_live)
        lua_pushfstring(L, "%s: %d/%d", kind_names[slot->h->kind], (int)slot->h->index,
                        (int)generation);
    else
        lua_pushfstring(L, "%s (ended)", kind_names[slot->last_kind]);
    return 1;
}

/* req.header_ok: a method that does not exist is most likely a typing error. */
static int unknown_method(lua_State *L)
{
    return luaL_error(L, "a handle has no method \"%s\"", luaL_checkstring(L, 2));
}

void sl_handles_open(lua_State *L)
{
    struct sl_script *s = sl_script_fast(L);

    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, unknown_method);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_pushlightuserdata(L, NULL);
    lua_createtable(L, 0, 3);
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, handle_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushliteral(L, "handle");
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2); /* of the type, not of this value */
    lua_pop(L, 1);
    s->methods = luaL_ref(L, LUA_REGISTRYINDEX);
}

void sl_bind_methods(lua_State *L, const struct luaL_Reg *methods)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, sl_script_fast(L)->methods);
    for (; methods->name != NULL; methods++) {
        const char *full = lua_pushfstring(L, "handle:%s", methods->name);

        sl_guard_push(L, methods->func, full, methods->name);
        lua_setfield(L, -3, methods->name);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}
