#include <openssl/decoder.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include "tls/cert_internal.h"
#include "tls/key_internal.h"

enum { TEXT_MAX = 64 * 1024 }; /* a key, and perhaps a chain of certificates in the same file */

static EVP_PKEY *read_public(struct sl_str text)
{
    const unsigned char *at = (const unsigned char *)text.p;
    size_t left = text.len;
    EVP_PKEY *pkey = NULL;
    OSSL_DECODER_CTX *ctx =
        OSSL_DECODER_CTX_new_for_pkey(&pkey, "PEM", NULL, NULL, EVP_PKEY_PUBLIC_KEY, NULL, NULL);

    if (ctx != NULL && OSSL_DECODER_CTX_set_pem_password_cb(ctx, sl_pem_no_password, NULL) == 1)
        (void)OSSL_DECODER_from_data(ctx, &at, &left);
    OSSL_DECODER_CTX_free(ctx);
    ERR_clear_error();
    return pkey;
}

static bool has(struct sl_str text, const char *what)
{
    return memmem(text.p, text.len, what, strlen(what)) != NULL;
}

int sl_key_from_pem(struct sl_key **out, struct sl_str pem, struct sl_err *err)
{
    bool is_private = has(pem, "PRIVATE KEY-----");
    EVP_PKEY *pkey = NULL;
    int rc;

    if (pem.len > TEXT_MAX)
        return sl_err_set(err, SL_E_CONFIG, "longer than %d KiB", TEXT_MAX / 1024);
    if (is_private) {
        if ((rc = sl_pem_read_key(&pkey, pem, err)) < 0)
            return rc;
    } else if (!has(pem, "PUBLIC KEY-----") || (pkey = read_public(pem)) == NULL) {
        return sl_err_set(err, SL_E_CONFIG, "not a PEM key");
    }
    return sl_key_adopt(out, pkey, is_private, err);
}

static bool write(BIO *bio, const struct sl_key *key, enum sl_key_form form)
{
    switch (form) {
    case SL_KEY_PKCS8:
        return PEM_write_bio_PrivateKey(bio, key->pkey, NULL, NULL, 0, NULL, NULL) == 1;
    case SL_KEY_TRADITIONAL:
        return PEM_write_bio_PrivateKey_traditional(bio, key->pkey, NULL, NULL, 0, NULL, NULL) == 1;
    case SL_KEY_PUBLIC:
        return PEM_write_bio_PUBKEY(bio, key->pkey) == 1;
    }
    return false;
}

int sl_key_to_pem(const struct sl_key *key, enum sl_key_form form, struct sl_key_text *out)
{
    BIO *bio = BIO_new(BIO_s_mem()); /* which wipes its memory */
    bool ok;

    sl_assert(key->is_private || form == SL_KEY_PUBLIC);
    ok = bio != NULL && write(bio, key, form) &&
         sl_pem_take(bio, out->bytes, sizeof(out->bytes), &out->len);
    BIO_free(bio);
    ERR_clear_error();
    return ok ? 0 : SL_E_TLS;
}
