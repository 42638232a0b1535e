/* core.publish: what is all or nothing, what is tolerant, and what is not looked at twice. */
#include <openssl/pem.h>
#include <openssl/x509.h>
#include "route/snapshot.h"
#include "script/test_script.h"

static struct sl_snapshot *live;
static struct sl_err refusal; /* what the workers say to the next publication; empty: nothing */
static int n_published, exit_code;
static bool is_tolerant;
static struct sl_refused_route left_out[4]; /* what they say of some of its routes */
static size_t n_left_out;
static char exit_note[256];

/* --- the services of a runtime --- */

static struct sl_snapshot *snapshot(void *user)
{
    (void)user;
    return live != NULL ? sl_snapshot_ref(live) : NULL;
}

static struct {
    void (*done)(void *arg, const struct sl_published *result);
    void *arg;
} pending;

static void publish(void *user, struct sl_snapshot **next, bool tolerant,
                    void (*done)(void *arg, const struct sl_published *result), void *arg)
{
    (void)user;
    n_published++;
    is_tolerant = tolerant;
    pending.done = done;
    pending.arg = arg;
    if (refusal.text[0] != '\0') {
        sl_snapshot_unref(*next);
    } else {
        sl_snapshot_unref(live);
        live = *next;
    }
    *next = NULL;
}

/* The workers have answered. */
static void answer(void)
{
    void (*done)(void *arg, const struct sl_published *result) = pending.done;
    struct sl_published result = {.err = refusal.text[0] != '\0' ? &refusal : NULL,
                                  .refused = left_out,
                                  .n_refused = n_left_out};

    sl_check(done != NULL);
    pending.done = NULL;
    if (done != NULL)
        done(pending.arg, &result);
}

static void on_end(void *user, enum sl_script_end end, const char *message)
{
    (void)user;
    exit_code = end == SL_SCRIPT_ENDED ? 0 : 1;
    snprintf(exit_note, sizeof(exit_note), "%s", message != NULL ? message : "");
}

/* --- a certificate --- */

static void put_quoted(struct sl_buf *out, BIO *bio)
{
    char *bytes;
    long len = BIO_get_mem_data(bio, &bytes);

    sl_buf_printf(out, "[[%.*s]]", (int)len, bytes);
    BIO_free(bio);
}

/* `{cert = [[…]], key = [[…]]}`. */
static void put_pair(struct sl_buf *out)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    BIO *cert_text = BIO_new(BIO_s_mem()), *key_text = BIO_new(BIO_s_mem());
    X509 *x = X509_new();

    X509_set_version(x, X509_VERSION_3);
    X509_gmtime_adj(X509_getm_notBefore(x), -60);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key);
    sl_assert(X509_sign(x, key, EVP_sha256()) > 0);
    PEM_write_bio_X509(cert_text, x);
    PEM_write_bio_PrivateKey(key_text, key, NULL, NULL, 0, NULL, NULL);
    sl_buf_printf(out, "{cert = ");
    put_quoted(out, cert_text);
    sl_buf_printf(out, ", key = ");
    put_quoted(out, key_text);
    sl_buf_printf(out, "}");
    X509_free(x);
    EVP_PKEY_free(key);
}

/* --- running a script --- */

static const char prelude[] =
    "local routes = require 'sluice.routes'\n"
    "local good = %s\n"
    "local other = %s\n"
    "local bad = {cert = '-----BEGIN CERTIFICATE-----\\nAAAA\\n-----END CERTIFICATE-----\\n',\n"
    "  key = good.key}\n"
    "local function spec(name, certificate)\n"
    "  return assert(routes.compile_one {name = name, match = {ports = 443, domains = name},\n"
    "    action = {type = 'forward', targets = {{host = '127.0.0.1', port = 80}},\n"
    "      tls = {mode = 'terminate', certificate = certificate}}})\n"
    "end\n"
    "return {start = function()\n%s\nend}\n";

static struct sl_script *start(const char *body)
{
    struct sl_script_opts opts = {.loop = test_loop,
                                  .kind = SL_SCRIPT_CONTROL,
                                  .library = sl_library_open,
                                  .lua_dir = SLUICE_SOURCE_DIR "/lua",
                                  .path = test_path("policy.lua"),
                                  .services = {.snapshot = snapshot, .publish = publish}};
    struct sl_buf good = {0}, other = {0}, text = {0};
    struct sl_script *s = NULL;
    struct sl_err err = {0};

    put_pair(&good);
    put_pair(&other);
    sl_buf_printf(&text, prelude, (const char *)sl_buf_at(&good), (const char *)sl_buf_at(&other),
                  body);
    test_write("policy.lua", (const char *)sl_buf_at(&text));
    if (sl_script_load(&s, &opts, &err) < 0)
        fprintf(stderr, "%s\n", err.text);
    sl_check(s != NULL);
    unlink(test_path("policy.lua"));
    sl_buf_clear(&good);
    sl_buf_clear(&other);
    sl_buf_clear(&text);
    n_published = 0;
    exit_code = -1;
    sl_script_start(s, on_end, NULL);
    return s;
}

/* Answers `n` publications, then the script must have ended well. */
static void finish(struct sl_script *s, int n)
{
    for (int i = 0; i < n; i++) {
        answer();
        test_settle();
    }
    sl_check(n_published == n && pending.done == NULL);
    sl_check(exit_code == 0);
    if (exit_code != 0)
        fprintf(stderr, "%s\n", exit_note);
    sl_script_free(s);
}

static bool is_live(const char *name)
{
    return live != NULL && sl_snapshot_by_name(live, sl_str_c(name)) != NULL;
}

static size_t n_live(void)
{
    struct sl_route *const *list;

    return live != NULL ? sl_snapshot_routes(live, &list) : 0;
}

/* --- the tests --- */

/* One bad entry does not take the others down, and is named with its place and field. */
static void tolerant(void)
{
    finish(
        start("local list = {spec('a.test', good), spec('bad.test', bad), spec('c.test', good),\n"
              "  spec('worse.test', {cert = good.cert, key = other.key})}\n"
              "local result = assert(routes.publish_good(list))\n"
              "assert(result.routes == 2 and result.compiled == 2)\n"
              "assert(#result.refused == 2)\n"
              "assert(result.refused[1].index == 2 and result.refused[2].index == 4)\n"
              "assert(result.refused[1].error:find('^action.tls.certificate.cert: '))\n"
              "assert(result.refused[2].error:find('^action.tls.certificate.key: '))\n"),
        1);
    sl_check(n_live() == 2 && is_live("a.test") && is_live("c.test"));
}

static void all_or_nothing(void)
{
    struct sl_snapshot *before = live;

    finish(start("local result, err, kind = routes.publish_compiled({spec('x.test', good),\n"
                 "  spec('bad.test', bad)}, {warnings = {}, places = {0, 7}})\n"
                 "assert(result == nil and kind == 'invalid')\n"
                 "assert(err:find('^routes%[7%]%.action%.tls%.certificate%.cert: '), err)\n"),
           0);
    sl_check(live == before);
}

/* A table that was published once is known by its note; what is not live any more, is compiled. */
static void noted(void)
{
    finish(start("local a, b = spec('a.test', good), spec('b.test', good)\n"
                 "local own, bad = spec('own.test', 'self-signed'), spec('bad.test', bad)\n"
                 "assert(routes.publish_good {a, b, own, bad}.compiled == 3)\n"
                 "assert(#a.digest == 32 and #b.digest == 32 and a.digest ~= b.digest)\n"
                 "assert(own.digest == nil and bad.digest == nil)\n"
                 "a.cert = nil -- not looked at again\n"
                 "assert(routes.publish_good {a, own}.compiled == 0)\n"
                 "assert(routes.publish_good {a, b}.compiled == 1)\n"
                 "assert(#routes.publish_good({a, b, bad}).refused == 1)\n"),
           4);
    sl_check(n_live() == 2 && is_live("a.test") && is_live("b.test"));
}

/* Only who says that tables stay as they are has them noted. */
static void not_noted(void)
{
    finish(start("local a = spec('a.test', good)\n"
                 "assert(routes.publish_compiled({a}, {places = {0}}))\n"
                 "assert(a.digest == nil)\n"
                 "a.digest = ('x'):rep(32)\n"
                 "assert(routes.publish_compiled({a}, {places = {0}}).compiled == 0)\n"
                 "a.targets[1].port = 81\n"
                 "assert(routes.publish_compiled({a}, {places = {0}}).compiled == 1)\n"),
           3);
}

/* The world says no: what was refused is forgotten, not mixed up with it. */
static void refused_by_the_world(void)
{
    struct sl_snapshot *before = live;

    sl_err_set(&refusal, SL_E_CONFIG, "port 443: in use");
    finish(
        start(
            "local result, err = routes.publish_good {spec('n.test', good), spec('b.test', bad)}\n"
            "assert(result == nil and err == 'port 443: in use')\n"),
        1);
    sl_check(live == before);
    refusal.text[0] = '\0';
}

/* Routes whose ports could not be had are named by their place in the list, like the wrong ones. */
static void refused_for_its_port(void)
{
    left_out[0].place = 0;
    left_out[1].place = 2;
    for (n_left_out = 0; n_left_out < 2; n_left_out++)
        sl_err_set(&left_out[n_left_out].err, SL_E_IN_USE, "port 443: in use");
    finish(start("local result = assert(routes.publish_good {spec('bad.test', bad),\n"
                 "  spec('a.test', good), spec('b.test', good), spec('c.test', good)})\n"
                 "assert(result.routes == 1 and #result.refused == 3)\n"
                 "assert(result.refused[1].index == 1)\n"
                 "assert(result.refused[2].index == 2 and result.refused[3].index == 4)\n"
                 "assert(result.refused[3].error == 'port 443: in use')\n"),
           1);
    sl_check(is_tolerant);
    n_left_out = 0;
    finish(start("assert(routes.publish_compiled({spec('a.test', good)}, {places = {0}}))\n"), 1);
    sl_check(!is_tolerant);
}

/* The answer comes when nobody waits for it any more. */
static void cancelled(void)
{
    struct sl_script *s =
        start("local sluice = require 'sluice'\n"
              "local task = sluice.spawn(function()\n"
              "  routes.publish_good {spec('late.test', good), spec('b.test', bad)}\n"
              "end)\n"
              "sluice.sleep(0.001)\n"
              "task:cancel()\n");

    while (exit_code < 0)
        sl_loop_turn(test_loop, true);
    finish(s, 1);
    sl_check(is_live("late.test"));
}

int main(void)
{
    test_begin();
    tolerant();
    all_or_nothing();
    noted();
    not_noted();
    refused_by_the_world();
    refused_for_its_port();
    cancelled();
    sl_snapshot_unref(live);
    return test_end();
}
