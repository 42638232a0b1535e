#include <openssl/err.h>
#include <openssl/pem.h>
#include <pthread.h>
#include "base/clock.h"
#include "base/list.h"
#include "base/map.h"
#include "tls/cert_internal.h"
#include "tls/key_internal.h"
#include "tls/names.h"

enum {
    DAY_S = 24 * 3600,
    VALID_DAYS = 90,
    RENEW_DAYS = 30, /* a certificate is made anew when it has less than this left */
    NAMES_MAX = 1024,
};

/* One name's certificate, kept until it expires or newer names push it out. */
struct made {
    struct sl_link link; /* in `order` */
    struct sl_cert *cert;
    size_t name_len;
    char name[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct sl_map by_name;
static struct sl_list order = {{&order.head, &order.head}}; /* oldest first */

static int64_t wall_s(void)
{
    return (int64_t)(sl_clock_wall_ms() / 1000);
}

/* One for all names: a new key would make none of them safer. */
static struct sl_key *key_of_process(void)
{
    static struct sl_key *key;

    if (key == NULL && sl_key_new(&key, SL_STR("P-256"), NULL) < 0)
        key = NULL;
    return key;
}

static struct sl_cert *make(struct sl_str name, int64_t now)
{
    struct sl_issue what = {&name, 1, now, VALID_DAYS, NULL};
    struct sl_key *key = key_of_process();
    X509 *x;

    if (key == NULL || sl_issue_cert(&x, key, &what, NULL) < 0)
        return NULL;
    EVP_PKEY_up_ref(key->pkey);
    return sl_cert_adopt(x, NULL, key->pkey, name.p);
}

static void forget(struct made *m)
{
    sl_map_remove(&by_name, sl_str(m->name, m->name_len));
    sl_link_remove(&m->link);
    sl_cert_unref(m->cert);
    sl_free(m);
}

static void remember(struct sl_str name, struct sl_cert *cert)
{
    struct made *m = sl_zalloc(sizeof(*m) + name.len);
    struct sl_link *oldest;

    if (by_name.n >= NAMES_MAX && (oldest = sl_list_first(&order)) != NULL)
        forget(sl_container_of(oldest, struct made, link));
    m->cert = sl_cert_ref(cert);
    m->name_len = name.len;
    memcpy(m->name, name.p, name.len);
    *sl_map_at(&by_name, sl_str(m->name, m->name_len)) = m;
    sl_list_append(&order, &m->link);
}

static bool is_due(const struct sl_cert *c, int64_t now)
{
    return sl_cert_not_after(c) - now <= RENEW_DAYS * DAY_S;
}

/* The certificate that was made for this name, with a reference, unless it is about to expire. */
static struct sl_cert *recall(struct sl_str name, int64_t now)
{
    struct made *m = sl_map_get(&by_name, name);

    if (m == NULL)
        return NULL;
    if (!is_due(m->cert, now))
        return sl_cert_ref(m->cert);
    forget(m);
    return NULL;
}

static struct sl_cert *recall_or_make(const char *name, int64_t now)
{
    struct sl_cert *cert;

    pthread_mutex_lock(&lock);
    cert = recall(sl_str_c(name), now);
    if (cert == NULL && (cert = make(sl_str_c(name), now)) != NULL)
        remember(sl_str_c(name), cert);
    pthread_mutex_unlock(&lock);
    return cert;
}

static int failed(struct sl_err *err)
{
    ERR_clear_error();
    return sl_err_set(err, SL_E_TLS, "OpenSSL could not make a self-signed certificate");
}

int sl_cert_self_signed(struct sl_cert **out, struct sl_str name, struct sl_err *err)
{
    char text[SL_CERT_NAME_MAX + 1];
    bool is_ip;
    int rc = sl_name_clean(text, name, &is_ip, err);

    if (rc < 0)
        return rc;
    *out = recall_or_make(text, wall_s());
    return *out != NULL ? 0 : failed(err);
}

static bool write_pem(struct sl_cert_pem *out, X509 *x, const struct sl_key *key)
{
    BIO *cert = BIO_new(BIO_s_mem()), *text = BIO_new(BIO_s_mem());
    bool ok = cert != NULL && text != NULL && PEM_write_bio_X509(cert, x) == 1 &&
              PEM_write_bio_PrivateKey(text, key->pkey, NULL, NULL, 0, NULL, NULL) == 1 &&
              sl_pem_take(cert, out->cert, sizeof(out->cert), &out->cert_len) &&
              sl_pem_take(text, out->key, sizeof(out->key), &out->key_len);

    BIO_free(cert);
    BIO_free(text);
    return ok;
}

int sl_cert_make_pem(struct sl_cert_pem *out, struct sl_str name, int days, struct sl_err *err)
{
    struct sl_issue what = {&name, 1, wall_s(), days, NULL};
    struct sl_key *key;
    X509 *x = NULL;
    int rc = sl_key_new(&key, SL_STR("P-256"), err);

    if (rc < 0)
        return rc;
    if ((rc = sl_issue_cert(&x, key, &what, err)) == 0 && !write_pem(out, x, key))
        rc = failed(err);
    X509_free(x);
    sl_key_free(key);
    return rc;
}

struct sl_cert *sl_cert_renew(struct sl_cert *c, int64_t now)
{
    const char *name = sl_cert_made_for(c);
    struct sl_cert *next;

    if (name == NULL || !is_due(c, now))
        return c;
    next = recall_or_make(name, now);
    if (next == NULL)
        return c;
    sl_cert_unref(c);
    return next;
}
