#include <stdint.h>
#include "tls/signature.h"

/* Keys and signatures that strangers send: the first byte says whether the rest is PEM or numbers
 * of a kind, each behind two bytes with its length. What is taken for a key can be written. */

static const uint8_t *at;
static size_t left;

static uint8_t next(void)
{
    if (left == 0)
        return 0;
    left--;
    return *at++;
}

static int read_parts(struct sl_key **key, uint8_t kind, struct sl_err *err)
{
    struct sl_key_parts parts = {.kind = kind & 3};

    for (int i = 0; i < SL_KEY_N_PARTS && left > 0; i++) {
        struct sl_key_number *number = &parts.part[i];
        size_t len = next();

        len = (len << 8 | next()) % (sizeof(number->bytes) + 1);
        for (number->len = 0; number->len < len && left > 0; number->len++)
            number->bytes[number->len] = next();
    }
    return sl_key_from_parts(key, &parts, err);
}

static void use(const struct sl_key *key)
{
    struct sl_key_parts parts;
    struct sl_key_text text;
    struct sl_key *copy;

    sl_key_public_parts(key, &parts);
    sl_assert(sl_key_from_parts(&copy, &parts, NULL) == 0);
    sl_key_free(copy);
    sl_assert(sl_key_to_pem(key, sl_key_is_private(key) ? SL_KEY_PKCS8 : SL_KEY_PUBLIC, &text) ==
              0);
    sl_assert(sl_key_from_pem(&copy, sl_str(text.bytes, text.len), NULL) == 0);
    sl_key_free(copy);
    (void)sl_signature_is_good(key, sl_signature_default(key), SL_STR("text"),
                               sl_str((const char *)at, left));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sl_err err = {0};
    struct sl_key *key;
    uint8_t kind;
    int rc;

    at = data;
    left = size;
    kind = next();
    rc = kind >= 4 ? sl_key_from_pem(&key, sl_str((const char *)data, size), &err)
                   : read_parts(&key, kind, &err);
    if (rc == 0) {
        use(key);
        sl_key_free(key);
    } else {
        sl_assert(rc == SL_E_CONFIG && err.text[0] != '\0');
    }
    return 0;
}
