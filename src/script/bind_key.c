/* sluice.Key: asymmetric keys and what they sign. */
#include <openssl/crypto.h>
#include "script/helper.h"
#include "script/key.h"
#include "tls/signature.h"

enum { MAX_WAITING = 16 }; /* RSA keys to be made */

struct object {
    struct sl_key *key;
};

static int push_key(lua_State *L, struct object *o, int rc, const struct sl_err *err)
{
    if (rc == 0)
        return 1;
    sl_assert(o->key == NULL);
    return sl_push_failure(L, err->text);
}

static int free_key(lua_State *L)
{
    struct object *o = sl_object_check(L, 1, "key");

    sl_key_free(o->key);
    o->key = NULL;
    return 0;
}

struct sl_key *sl_arg_key(lua_State *L, int arg)
{
    struct object *o = sl_object_check(L, arg, "key");

    luaL_argcheck(L, o->key != NULL, arg, "the key is gone");
    return o->key;
}

struct sl_key *sl_arg_private_key(lua_State *L, int arg)
{
    struct sl_key *key = sl_arg_key(L, arg);

    luaL_argcheck(L, sl_key_is_private(key), arg, "a private key expected, got a public one");
    return key;
}

/* --- from nothing, PEM, or a JWK --- */

/* A prime of 2048 bits may take seconds to find: not on a loop's thread. */
struct making {
    struct sl_job job;
    struct sl_task *task;
    char kind[SL_KEY_NAME_LEN];
    struct sl_key *key;
    struct sl_err err;
    int code;
};

static struct sl_helper primes = SL_HELPER("primes", MAX_WAITING);

static struct making *making(struct sl_job *job)
{
    return sl_container_of(job, struct making, job);
}

static void do_make(struct sl_job *job)
{
    struct making *m = making(job);

    m->code = sl_key_new(&m->key, sl_str_c(m->kind), &m->err);
}

static int push_made(lua_State *L, void *arg)
{
    struct making *m = arg;
    struct object *o = sl_object_new(L, "key", sizeof(*o));

    o->key = m->key;
    m->key = NULL;
    return push_key(L, o, m->code, &m->err);
}

static void on_made(struct sl_job *job)
{
    sl_task_resume(making(job)->task, push_made, making(job));
}

static void do_free(struct sl_job *job)
{
    sl_key_free(making(job)->key);
    sl_free(making(job));
}

static void cancel_making(void *op)
{
    sl_helper_cancel(&primes, op, false);
}

static int make_rsa(lua_State *L, struct sl_str kind)
{
    static const struct sl_job_ops ops = {do_make, on_made, do_free};
    struct sl_task *task = sl_task_must_wait(L, "sluice.crypto.new_key for RSA");
    struct making *m = sl_zalloc(sizeof(*m));

    m->job.ops = &ops;
    m->task = task;
    memcpy(m->kind, kind.p, kind.len);
    if (sl_helper_submit(&primes, &m->job, sl_script_loop(sl_script_of(L))) < 0) {
        sl_free(m);
        return sl_push_failure(L, "too many keys are being made");
    }
    return sl_task_wait(task, cancel_making, &m->job);
}

static int new_key(lua_State *L)
{
    struct sl_str kind = sl_arg_opt_str(L, 1, SL_STR("P-256"));
    struct object *o;
    struct sl_err err;
    int rc;

    luaL_argcheck(L, sl_key_is_kind(kind), 1,
                  "P-256, P-384, P-521, RSA-2048, RSA-3072 or RSA-4096");
    if (sl_str_starts(kind, SL_STR("RSA")))
        return make_rsa(L, kind);
    o = sl_object_new(L, "key", sizeof(*o));
    rc = sl_key_new(&o->key, kind, &err);
    return push_key(L, o, rc, &err);
}

static int key(lua_State *L)
{
    struct sl_err err;
    struct object *o;
    int rc;

    if (lua_type(L, 1) != LUA_TSTRING)
        luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    o = sl_object_new(L, "key", sizeof(*o));
    rc = lua_istable(L, 1) ? sl_jwk_read(L, 1, &o->key, &err)
                           : sl_key_from_pem(&o->key, sl_arg_str(L, 1), &err);
    return push_key(L, o, rc, &err);
}

/* --- what it is --- */

static int is_private(lua_State *L)
{
    lua_pushboolean(L, sl_key_is_private(sl_arg_key(L, 1)));
    return 1;
}

static int kind(lua_State *L)
{
    char name[SL_KEY_NAME_LEN];

    lua_pushstring(L, sl_key_name(sl_arg_key(L, 1), name));
    return 1;
}

/* The text is copied into Lua before it is wiped, which a Lua error would prevent: only when no
 * memory is left. */
static int push_pem(lua_State *L, const struct sl_key *key, enum sl_key_form form)
{
    struct sl_key_text text;

    if (sl_key_to_pem(key, form, &text) < 0)
        return luaL_error(L, "OpenSSL could not write the key");
    lua_pushlstring(L, text.bytes, text.len);
    OPENSSL_cleanse(&text, sizeof(text));
    return 1;
}

static int pem(lua_State *L)
{
    static const char *const forms[] = {"pkcs8", "sec1", "traditional", NULL};
    struct sl_key *k = sl_arg_private_key(L, 1);
    int form = luaL_checkoption(L, 2, "pkcs8", forms);

    luaL_argcheck(L, form != 1 || sl_key_kind(k) != SL_KEY_RSA, 2,
                  "an RSA key has no SEC1 form; use \"traditional\"");
    return push_pem(L, k, form == 0 ? SL_KEY_PKCS8 : SL_KEY_TRADITIONAL);
}

static int public_pem(lua_State *L)
{
    return push_pem(L, sl_arg_key(L, 1), SL_KEY_PUBLIC);
}

/* --- signatures --- */

static int sign(lua_State *L)
{
    struct sl_key *k = sl_arg_private_key(L, 1);
    const char *alg = luaL_checkstring(L, 2);
    struct sl_str bytes = sl_arg_str(L, 3);
    struct sl_signature signature;
    char name[SL_KEY_NAME_LEN];

    if (!sl_signature_fits(k, alg))
        return luaL_error(L, "a key of the kind %s does not sign with %s", sl_key_name(k, name),
                          alg);
    if (sl_signature_make(k, alg, bytes, &signature) < 0)
        return luaL_error(L, "OpenSSL could not sign");
    lua_pushlstring(L, (const char *)signature.bytes, signature.len);
    return 1;
}

static int verify(lua_State *L)
{
    struct sl_key *k = sl_arg_key(L, 1);
    const char *alg = luaL_checkstring(L, 2);

    lua_pushboolean(L, sl_signature_is_good(k, alg, sl_arg_str(L, 3), sl_arg_str(L, 4)));
    return 1;
}

void sl_bind_key(lua_State *L)
{
    static const struct luaL_Reg functions[] = {
        {"crypto.new_key", new_key},
        {"crypto.key", key},
        {NULL, NULL},
    };
    static const struct luaL_Reg methods[] = {
        {"is_private", is_private},
        {"kind", kind},
        {"pem", pem},
        {"public_pem", public_pem},
        {"jwk", sl_key_jwk},
        {"thumbprint", sl_key_thumbprint},
        {"sign", sign},
        {"verify", verify},
        {"csr", sl_key_csr},
        {"self_signed", sl_key_self_signed},
        {NULL, NULL},
    };

    sl_bind_functions(L, functions);
    sl_bind_class(L, "key", methods, free_key);
}
