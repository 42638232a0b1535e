/* sluice.crypto.certificate: what a certificate says. */
#include "script/library.h"
#include "tls/facts.h"

/* Pushes the names as a list. */
static void push_names(lua_State *L, struct sl_str names)
{
    lua_newtable(L);
    for (int i = 1; names.len > 0; i++) {
        struct sl_str name = sl_str(names.p, strlen(names.p));

        lua_pushlstring(L, name.p, name.len);
        lua_rawseti(L, -2, i);
        names = sl_str(names.p + name.len + 1, names.len - name.len - 1);
    }
}

static void set_bytes(lua_State *L, const char *name, struct sl_str bytes)
{
    lua_pushlstring(L, bytes.p, bytes.len);
    lua_setfield(L, -2, name);
}

/* The digits of the number: without the zero that DER puts in front of a high bit. */
static void set_serial(lua_State *L, struct sl_str der)
{
    struct sl_str number = der;
    luaL_Buffer b;

    if (number.len > 1 && number.p[0] == '\0')
        number = sl_str(number.p + 1, number.len - 1);
    luaL_buffinit(L, &b);
    for (size_t i = 0; i < number.len; i++) {
        char digits[3];

        snprintf(digits, sizeof(digits), "%02x", (unsigned char)number.p[i]);
        luaL_addlstring(&b, digits, 2);
    }
    luaL_pushresult(&b);
    lua_setfield(L, -2, "serial");
    set_bytes(L, "serial_der", der);
}

static struct sl_str id(const struct sl_cert_id *from)
{
    return sl_str((const char *)from->bytes, from->len);
}

static void push_facts(lua_State *L, const struct sl_cert_facts *facts, struct sl_str names)
{
    lua_createtable(L, 0, 8);
    push_names(L, names);
    lua_setfield(L, -2, "names");
    lua_pushnumber(L, (lua_Number)facts->not_before);
    lua_setfield(L, -2, "not_before");
    lua_pushnumber(L, (lua_Number)facts->not_after);
    lua_setfield(L, -2, "not_after");
    set_serial(L, id(&facts->serial_der));
    set_bytes(L, "issuer", sl_str(facts->issuer, facts->issuer_len));
    set_bytes(L, "pin", sl_str((const char *)facts->pin, sizeof(facts->pin)));
    if (facts->authority_key_id.len > 0)
        set_bytes(L, "authority_key_id", id(&facts->authority_key_id));
}

static int certificate(lua_State *L)
{
    struct sl_str pem = sl_arg_str(L, 1);
    struct sl_buf *room = sl_room(L);
    struct sl_cert_facts facts;
    struct sl_err err;

    if (sl_cert_facts_of_pem(&facts, room, pem, &err) < 0)
        return sl_push_failure(L, err.text);
    push_facts(L, &facts, sl_buf_str(room));
    sl_room_done(room);
    return 1;
}

void sl_bind_certificate(lua_State *L)
{
    static const struct luaL_Reg functions[] = {{"crypto.certificate", certificate}, {NULL, NULL}};

    sl_bind_functions(L, functions);
}
