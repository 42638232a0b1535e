#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include "base/clock.h"
#include "base/list.h"
#include "base/map.h"
#include "net/addr.h"
#include "tls/cert_internal.h"

enum {
    DAY_S = 24 * 3600,
    VALID_DAYS = 90,
    RENEW_DAYS = 30, /* a certificate is made anew when it has less than this left */
    NAMES_MAX = 1024,
    NAME_LEN_MAX = 253,
    COMMON_NAME_MAX = 64,
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
static EVP_PKEY *process_key; /* one for all names: a new key would make none of them safer */

static bool add_extension(X509 *x, int nid, const char *value)
{
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    bool ok = ext != NULL && X509_add_ext(x, ext, -1) == 1;

    X509_EXTENSION_free(ext);
    return ok;
}

static bool set_serial(X509 *x)
{
    unsigned char bytes[16];
    BIGNUM *number;
    bool ok;

    if (RAND_bytes(bytes, sizeof(bytes)) != 1)
        return false;
    bytes[0] = (bytes[0] & 0x7f) | 0x40; /* positive, and of one length */
    number = BN_bin2bn(bytes, sizeof(bytes), NULL);
    ok = number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(x)) != NULL;
    BN_free(number);
    return ok;
}

/* A name that is too long for a common name lives in the alternative name alone, where clients
 * look. */
static bool set_names(X509 *x, const char *name, bool is_ip)
{
    X509_NAME *subject = X509_get_subject_name(x);
    const char *common = strlen(name) <= COMMON_NAME_MAX ? name : "sluice";
    char alternative[NAME_LEN_MAX + 8];

    snprintf(alternative, sizeof(alternative), "%s:%s", is_ip ? "IP" : "DNS", name);
    return X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)common,
                                      -1, -1, 0) == 1 &&
           X509_set_issuer_name(x, subject) == 1 &&
           add_extension(x, NID_subject_alt_name, alternative);
}

/* Valid from yesterday on, for clients whose clock is behind. */
static bool fill(X509 *x, EVP_PKEY *key, const char *name, bool is_ip, time_t now, int days)
{
    return X509_set_version(x, X509_VERSION_3) == 1 && set_serial(x) &&
           X509_time_adj_ex(X509_getm_notBefore(x), -1, 0, &now) != NULL &&
           X509_time_adj_ex(X509_getm_notAfter(x), days, 0, &now) != NULL &&
           X509_set_pubkey(x, key) == 1 && set_names(x, name, is_ip) &&
           add_extension(x, NID_basic_constraints, "critical,CA:FALSE") &&
           add_extension(x, NID_key_usage, "critical,digitalSignature") &&
           add_extension(x, NID_ext_key_usage, "serverAuth") && X509_sign(x, key, EVP_sha256()) > 0;
}

static time_t wall_s(void)
{
    return (time_t)(sl_clock_wall_ms() / 1000);
}

static EVP_PKEY *new_key(void)
{
    return EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
}

static struct sl_cert *make(const char *name, bool is_ip, time_t now)
{
    X509 *x = X509_new();

    if (process_key == NULL)
        process_key = new_key();
    if (x == NULL || process_key == NULL || !fill(x, process_key, name, is_ip, now, VALID_DAYS)) {
        X509_free(x);
        ERR_clear_error();
        return NULL;
    }
    EVP_PKEY_up_ref(process_key);
    return sl_cert_adopt(x, NULL, process_key, name);
}

/* Letters, digits, '-', '_' and '.', or such a name behind "*.": what a certificate may hold, and
 * nothing that the configuration syntax of OpenSSL's extensions would take for its own. */
static bool is_host_name(struct sl_str name)
{
    if (name.len > 2 && name.p[0] == '*' && name.p[1] == '.')
        name = sl_str(name.p + 2, name.len - 2);
    for (size_t i = 0; i < name.len; i++) {
        char c = (char)sl_lower((unsigned char)name.p[i]);

        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.'))
            return false;
    }
    return name.len > 0 && name.len <= NAME_LEN_MAX - 2;
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

static struct sl_cert *recall_or_make(const char *name, bool is_ip, int64_t now)
{
    struct sl_cert *cert;

    pthread_mutex_lock(&lock);
    cert = recall(sl_str_c(name), now);
    if (cert == NULL && (cert = make(name, is_ip, (time_t)now)) != NULL)
        remember(sl_str_c(name), cert);
    pthread_mutex_unlock(&lock);
    return cert;
}

/* The name as it stands in the certificate. 0 or SL_E_CONFIG. */
static int clean_name(char text[NAME_LEN_MAX + 1], struct sl_str name, bool *is_ip,
                      struct sl_err *err)
{
    struct sl_addr addr;

    *is_ip = sl_addr_parse(&addr, name, 0) == 0;
    if (*is_ip)
        sl_addr_ip(&addr, text);
    else if (is_host_name(name))
        snprintf(text, NAME_LEN_MAX + 1, "%.*s", SL_STR_FMT(name));
    else
        return sl_err_set(err, SL_E_CONFIG, "no certificate can be made for the name \"%.*s\"",
                          (int)SL_MIN(name.len, (size_t)100), name.p);
    return 0;
}

static int failed(struct sl_err *err)
{
    ERR_clear_error();
    return sl_err_set(err, SL_E_TLS, "OpenSSL could not make a self-signed certificate");
}

int sl_cert_self_signed(struct sl_cert **out, struct sl_str name, struct sl_err *err)
{
    char text[NAME_LEN_MAX + 1];
    bool is_ip;
    int rc = clean_name(text, name, &is_ip, err);

    if (rc < 0)
        return rc;
    *out = recall_or_make(text, is_ip, wall_s());
    return *out != NULL ? 0 : failed(err);
}

/* What was written to `from`, if it fits; the BIO's memory is wiped. */
static bool take_text(BIO *from, char *out, size_t room, size_t *len)
{
    char *text;
    long n = BIO_get_mem_data(from, &text);

    if (n <= 0 || (size_t)n > room)
        return false;
    memcpy(out, text, (size_t)n);
    OPENSSL_cleanse(text, (size_t)n);
    *len = (size_t)n;
    return true;
}

static bool write_pem(struct sl_cert_pem *out, X509 *x, EVP_PKEY *key)
{
    BIO *cert_text = BIO_new(BIO_s_mem()), *key_text = BIO_new(BIO_s_mem());
    bool ok = cert_text != NULL && key_text != NULL && PEM_write_bio_X509(cert_text, x) == 1 &&
              PEM_write_bio_PrivateKey(key_text, key, NULL, NULL, 0, NULL, NULL) == 1 &&
              take_text(cert_text, out->cert, sizeof(out->cert), &out->cert_len) &&
              take_text(key_text, out->key, sizeof(out->key), &out->key_len);

    BIO_free(cert_text);
    BIO_free(key_text);
    return ok;
}

int sl_cert_make_pem(struct sl_cert_pem *out, struct sl_str name, int days, struct sl_err *err)
{
    char text[NAME_LEN_MAX + 1];
    bool is_ip, ok;
    EVP_PKEY *key;
    X509 *x;
    int rc = clean_name(text, name, &is_ip, err);

    if (rc < 0)
        return rc;
    key = new_key();
    x = X509_new();
    ok = key != NULL && x != NULL && fill(x, key, text, is_ip, wall_s(), days) &&
         write_pem(out, x, key);
    X509_free(x);
    EVP_PKEY_free(key);
    return ok ? 0 : failed(err);
}

struct sl_cert *sl_cert_renew(struct sl_cert *c, int64_t now)
{
    const char *name = sl_cert_made_for(c);
    struct sl_cert *next;
    struct sl_addr addr;

    if (name == NULL || !is_due(c, now))
        return c;
    next = recall_or_make(name, sl_addr_parse(&addr, sl_str_c(name), 0) == 0, now);
    if (next == NULL)
        return c;
    sl_cert_unref(c);
    return next;
}
