/* JSON Web Keys (RFC 7517) as tables, and their thumbprints (RFC 7638). */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include "script/base64.h"
#include "script/key.h"

enum {
    NUMBER_MAX = sizeof(((struct sl_key_number *)0)->bytes),
    TEXT_MAX = SL_BASE64_LEN(NUMBER_MAX),
    SHA256_LEN = 32,
};

/* --- reading --- */

/* A member that is a string; SL_STR_NONE when it is missing. No metamethod runs, so that nothing
 * throws while private numbers are on the C stack. */
static struct sl_str member(lua_State *L, int at, const char *name, bool *is_wrong)
{
    struct sl_str text = SL_STR_NONE;

    lua_pushstring(L, name);
    lua_rawget(L, at);
    if (lua_type(L, -1) == LUA_TSTRING)
        text.p = lua_tolstring(L, -1, &text.len);
    *is_wrong = text.p == NULL && !lua_isnil(L, -1);
    lua_pop(L, 1); /* the table holds it */
    return text;
}

static int read_kind(lua_State *L, int at, enum sl_key_kind *kind, struct sl_err *err)
{
    bool is_wrong;
    struct sl_str kty = member(L, at, "kty", &is_wrong);

    if (sl_str_eq(kty, SL_STR("oct")))
        return sl_err_set(err, SL_E_CONFIG, "a symmetric key");
    if (sl_str_eq(kty, SL_STR("RSA"))) {
        *kind = SL_KEY_RSA;
        return 0;
    }
    if (!sl_str_eq(kty, SL_STR("EC")))
        return sl_err_set(err, SL_E_CONFIG, "kty: EC or RSA expected");
    if (sl_key_kind_of_curve(member(L, at, "crv", &is_wrong), kind))
        return 0;
    return sl_err_set(err, SL_E_CONFIG, "crv: P-256, P-384 or P-521 expected");
}

static int read_number(lua_State *L, int at, const char *name, struct sl_key_number *out,
                       struct sl_err *err)
{
    uint8_t bytes[TEXT_MAX / 4 * 3 + 3];
    bool is_wrong;
    struct sl_str text = member(L, at, name, &is_wrong);
    ssize_t n;

    if (is_wrong || text.len > TEXT_MAX)
        return sl_err_set(err, SL_E_CONFIG, "%s: %s", name, is_wrong ? "not a string" : "too long");
    n = sl_base64_decode(bytes, text, true);
    if (n < 0 || n > NUMBER_MAX) {
        OPENSSL_cleanse(bytes, sizeof(bytes));
        return sl_err_set(err, SL_E_CONFIG, "%s: %s", name, n < 0 ? "not base64url" : "too long");
    }
    memcpy(out->bytes, bytes, (size_t)n);
    out->len = (size_t)n;
    OPENSSL_cleanse(bytes, sizeof(bytes));
    return 0;
}

static int read_parts(lua_State *L, int at, struct sl_key_parts *parts, struct sl_err *err)
{
    int rc = read_kind(L, at, &parts->kind, err);

    for (int i = 0; i < SL_KEY_N_PARTS && rc == 0; i++)
        rc = read_number(L, at, sl_key_part_names[i], &parts->part[i], err);
    return rc;
}

int sl_jwk_read(lua_State *L, int arg, struct sl_key **out, struct sl_err *err)
{
    struct sl_key_parts parts = {0};
    int rc = read_parts(L, arg, &parts, err);

    if (rc == 0)
        rc = sl_key_from_parts(out, &parts, err);
    OPENSSL_cleanse(&parts, sizeof(parts));
    return rc;
}

/* --- writing --- */

/* The public members in the order of RFC 7638, which is that of the alphabet. */
struct members {
    const char *name[4];
    char value[4][TEXT_MAX + 1];
    size_t n;
};

static void add(struct members *m, const char *name, struct sl_str value)
{
    m->name[m->n] = name;
    memcpy(m->value[m->n], value.p, value.len);
    m->value[m->n++][value.len] = '\0';
}

static void add_number(struct members *m, const struct sl_key_parts *parts, enum sl_key_part_id id)
{
    const struct sl_key_number *number = &parts->part[id];
    char text[TEXT_MAX];

    add(m, sl_key_part_names[id],
        sl_str(text, sl_base64_encode(text, number->bytes, number->len, true)));
}

static void read_public(struct members *m, const struct sl_key *key)
{
    struct sl_key_parts parts;

    sl_key_public_parts(key, &parts);
    m->n = 0;
    if (parts.kind == SL_KEY_RSA) {
        add_number(m, &parts, SL_KEY_PART_E);
        add(m, "kty", SL_STR("RSA"));
        add_number(m, &parts, SL_KEY_PART_N);
    } else {
        add(m, "crv", sl_str_c(sl_key_curve(parts.kind)));
        add(m, "kty", SL_STR("EC"));
        add_number(m, &parts, SL_KEY_PART_X);
        add_number(m, &parts, SL_KEY_PART_Y);
    }
}

int sl_key_jwk(lua_State *L)
{
    struct members m;

    read_public(&m, sl_arg_key(L, 1));
    lua_createtable(L, 0, (int)m.n);
    for (size_t i = 0; i < m.n; i++) {
        lua_pushstring(L, m.value[i]);
        lua_setfield(L, -2, m.name[i]);
    }
    return 1;
}

int sl_key_thumbprint(lua_State *L)
{
    const struct sl_key *key = sl_arg_key(L, 1);
    struct sl_buf *text = sl_room(L);
    uint8_t digest[SHA256_LEN];
    struct members m;

    read_public(&m, key);
    for (size_t i = 0; i < m.n; i++)
        sl_buf_printf(text, "%c\"%s\":\"%s\"", i == 0 ? '{' : ',', m.name[i], m.value[i]);
    sl_buf_append(text, "}", 1);
    if (EVP_Digest(sl_buf_at(text), sl_buf_len(text), digest, NULL, EVP_sha256(), NULL) != 1)
        return luaL_error(L, "OpenSSL could not make a digest");
    sl_room_done(text);
    lua_pushlstring(L, (const char *)digest, sizeof(digest));
    return 1;
}
