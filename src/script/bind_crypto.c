/* sluice.crypto, on OpenSSL. */
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include "script/base32.h"
#include "script/base64.h"
#include "script/library.h"
#include "tls/cert.h"

enum { SHA256_LEN = 32, MAX_RANDOM = 1024 * 1024, KEPT_DAYS = 3650 };

static int push_bytes(lua_State *L, const void *bytes, size_t len)
{
    lua_pushlstring(L, bytes, len);
    return 1;
}

static int sha256(lua_State *L)
{
    struct sl_str s = sl_arg_str(L, 1);
    uint8_t digest[SHA256_LEN];

    if (EVP_Digest(s.p, s.len, digest, NULL, EVP_sha256(), NULL) != 1)
        return luaL_error(L, "crypto.sha256: OpenSSL failed");
    return push_bytes(L, digest, sizeof(digest));
}

static int hmac_sha256(lua_State *L)
{
    struct sl_str key = sl_arg_str(L, 1), s = sl_arg_str(L, 2);
    uint8_t mac[SHA256_LEN];
    unsigned len = sizeof(mac);

    luaL_argcheck(L, key.len <= INT32_MAX, 1, "too long");
    if (HMAC(EVP_sha256(), key.p, (int)key.len, (const uint8_t *)s.p, s.len, mac, &len) == NULL)
        return luaL_error(L, "crypto.hmac_sha256: OpenSSL failed");
    return push_bytes(L, mac, len);
}

static int hex(lua_State *L)
{
    static const char digits[] = "0123456789abcdef";
    struct sl_str s = sl_arg_str(L, 1);
    char *out = lua_newuserdata(L, s.len * 2 + 1);

    for (size_t i = 0; i < s.len; i++) {
        out[2 * i] = digits[(unsigned char)s.p[i] >> 4];
        out[2 * i + 1] = digits[s.p[i] & 15];
    }
    return push_bytes(L, out, s.len * 2);
}

static int encode(lua_State *L, bool url)
{
    struct sl_str s = sl_arg_str(L, 1);
    char *out = lua_newuserdata(L, SL_BASE64_LEN(s.len) + 1);

    return push_bytes(L, out, sl_base64_encode(out, s.p, s.len, url));
}

static int decode(lua_State *L, bool url)
{
    struct sl_str s = sl_arg_str(L, 1);
    uint8_t *out = lua_newuserdata(L, s.len / 4 * 3 + 3);
    ssize_t n = sl_base64_decode(out, s, url);

    return n >= 0 ? push_bytes(L, out, (size_t)n) : sl_push_failure(L, "not base64");
}

static int base64(lua_State *L)
{
    return encode(L, false);
}

static int base64url(lua_State *L)
{
    return encode(L, true);
}

static int unbase64(lua_State *L)
{
    return decode(L, false);
}

static int unbase64url(lua_State *L)
{
    return decode(L, true);
}

static int base32(lua_State *L)
{
    struct sl_str s = sl_arg_str(L, 1);
    char *out = lua_newuserdata(L, SL_BASE32_LEN(s.len) + 1);

    return push_bytes(L, out, sl_base32_encode(out, s.p, s.len));
}

static int unbase32(lua_State *L)
{
    struct sl_str s = sl_arg_str(L, 1);
    uint8_t *out = lua_newuserdata(L, s.len / 8 * 5 + 5);
    ssize_t n = sl_base32_decode(out, s);

    return n >= 0 ? push_bytes(L, out, (size_t)n) : sl_push_failure(L, "not base32");
}

static int random_(lua_State *L)
{
    int n = (int)sl_arg_int(L, 1, 1, MAX_RANDOM);
    uint8_t *out = lua_newuserdata(L, (size_t)n);

    if (RAND_bytes(out, n) != 1)
        return luaL_error(L, "crypto.random: the system has no random bytes");
    return push_bytes(L, out, (size_t)n);
}

static int equal(lua_State *L)
{
    lua_pushboolean(L, sl_str_eq_secret(sl_arg_str(L, 1), sl_arg_str(L, 2)));
    return 1;
}

/* The texts are copied into Lua before they are wiped, which a Lua error would prevent: only when
 * no memory is left. */
static int self_signed(lua_State *L)
{
    struct sl_cert_pem pem;
    struct sl_err err;

    if (sl_cert_make_pem(&pem, sl_arg_str(L, 1), KEPT_DAYS, &err) < 0)
        return sl_push_failure(L, err.text);
    lua_pushlstring(L, pem.cert, pem.cert_len);
    lua_pushlstring(L, pem.key, pem.key_len);
    OPENSSL_cleanse(pem.key, sizeof(pem.key));
    return 2;
}

static int fingerprint(lua_State *L)
{
    uint8_t pin[SHA256_LEN];
    struct sl_err err;

    if (sl_cert_pin_of_pem(sl_arg_str(L, 1), pin, &err) < 0)
        return sl_push_failure(L, err.text);
    return push_bytes(L, pin, sizeof(pin));
}

void sl_bind_crypto(lua_State *L)
{
    static const struct luaL_Reg functions[] = {
        {"crypto.sha256", sha256},
        {"crypto.hmac_sha256", hmac_sha256},
        {"crypto.hex", hex},
        {"crypto.base64", base64},
        {"crypto.unbase64", unbase64},
        {"crypto.base64url", base64url},
        {"crypto.unbase64url", unbase64url},
        {"crypto.base32", base32},
        {"crypto.unbase32", unbase32},
        {"crypto.random", random_},
        {"crypto.equal", equal},
        {"crypto.self_signed", self_signed},
        {"crypto.fingerprint", fingerprint},
        {NULL, NULL},
    };

    sl_bind_functions(L, functions);
}
