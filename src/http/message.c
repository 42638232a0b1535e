#include "http/message.h"

#include <arpa/inet.h>
#include <time.h>
#include "base/clock.h"

static const struct sl_str names[] = {{NULL, 0},
#define SL_HEADER_NAME(id, name) {name, sizeof(name) - 1},
                                      SL_HEADER_NAMES(SL_HEADER_NAME)
#undef SL_HEADER_NAME
};

enum { LONGEST_NAME = 20, MAX_SAME_LENGTH = 6 };

/* Ids by the length of the name: the length alone tells most names apart. */
static const uint8_t by_length[LONGEST_NAME + 1][MAX_SAME_LENGTH] = {
    [2] = {SL_H_TE},
    [4] = {SL_H_HOST, SL_H_DATE},
    [6] = {SL_H_EXPECT, SL_H_COOKIE, SL_H_ACCEPT, SL_H_SERVER},
    [7] = {SL_H_UPGRADE, SL_H_TRAILER, SL_H_ALT_SVC},
    [8] = {SL_H_LOCATION},
    [9] = {SL_H_X_REAL_IP, SL_H_FORWARDED},
    [10] = {SL_H_CONNECTION, SL_H_KEEP_ALIVE, SL_H_USER_AGENT},
    [12] = {SL_H_CONTENT_TYPE},
    [13] = {SL_H_AUTHORIZATION},
    [14] = {SL_H_CONTENT_LENGTH, SL_H_HTTP2_SETTINGS},
    [15] = {SL_H_X_FORWARDED_FOR},
    [16] = {SL_H_PROXY_CONNECTION, SL_H_X_FORWARDED_HOST, SL_H_X_FORWARDED_PORT,
            SL_H_WWW_AUTHENTICATE},
    [17] = {SL_H_TRANSFER_ENCODING, SL_H_X_FORWARDED_PROTO, SL_H_SEC_WEBSOCKET_KEY},
};

static uint64_t load(const char *p, size_t len)
{
    uint64_t word = 0;

    memcpy(&word, p, len);
    return word | 0x2020202020202020;
}

/* `known` is lower case. Of all that may stand in a name, only a letter becomes a letter of ours
   when its case bit is set, so eight bytes are compared at a time. */
static bool is_name(const char *p, const char *known, size_t len)
{
    for (; len > 8; p += 8, known += 8, len -= 8) {
        if (load(p, 8) != load(known, 8))
            return false;
    }
    return load(p, len) == load(known, len);
}

enum sl_header_id sl_header_id(struct sl_str name)
{
    if (name.len > LONGEST_NAME)
        return SL_H_OTHER;
    for (int i = 0; i < MAX_SAME_LENGTH && by_length[name.len][i] != 0; i++) {
        enum sl_header_id id = by_length[name.len][i];

        if (is_name(name.p, names[id].p, name.len))
            return id;
    }
    return SL_H_OTHER;
}

struct sl_str sl_header_name(enum sl_header_id id)
{
    return names[id];
}

bool sl_header_is_framing(enum sl_header_id id)
{
    switch (id) {
    case SL_H_REMOVED:
    case SL_H_CONNECTION:
    case SL_H_KEEP_ALIVE:
    case SL_H_PROXY_CONNECTION:
    case SL_H_TRANSFER_ENCODING:
    case SL_H_CONTENT_LENGTH:
    case SL_H_TE:
    case SL_H_TRAILER:
    case SL_H_UPGRADE:
        return true;
    default:
        return false;
    }
}

bool sl_header_may_trail(enum sl_header_id id)
{
    return id == SL_H_OTHER || id == SL_H_DATE || id == SL_H_SERVER;
}

void sl_headers_add_id(struct sl_headers *h, struct sl_arena *a, enum sl_header_id id,
                       struct sl_str name, struct sl_str value)
{
    if (h->n == h->cap) {
        unsigned cap = h->cap > 0 ? h->cap * 2 : 16;
        struct sl_header *bigger = sl_arena_alloc(a, cap * sizeof(*bigger));

        if (h->n > 0)
            memcpy(bigger, h->at, h->n * sizeof(*bigger));
        h->at = bigger;
        h->cap = cap;
    }
    h->at[h->n++] = (struct sl_header){name, value, id};
}

void sl_headers_add(struct sl_headers *h, struct sl_arena *a, struct sl_str name,
                    struct sl_str value)
{
    sl_headers_add_id(h, a, sl_header_id(name), name, value);
}

struct sl_header *sl_headers_find_id(const struct sl_headers *h, enum sl_header_id id)
{
    for (unsigned i = 0; i < h->n; i++) {
        if (h->at[i].id == id)
            return &h->at[i];
    }
    return NULL;
}

static bool is_named(const struct sl_header *h, enum sl_header_id id, struct sl_str name)
{
    return h->id == id && (id != SL_H_OTHER || sl_str_ieq(h->name, name));
}

struct sl_header *sl_headers_find(const struct sl_headers *h, struct sl_str name)
{
    enum sl_header_id id = sl_header_id(name);

    for (unsigned i = 0; i < h->n; i++) {
        if (is_named(&h->at[i], id, name))
            return &h->at[i];
    }
    return NULL;
}

struct sl_str sl_headers_get(const struct sl_headers *h, struct sl_str name)
{
    const struct sl_header *found = sl_headers_find(h, name);

    return found != NULL ? found->value : SL_STR_NONE;
}

static struct sl_str join(struct sl_arena *a, struct sl_str left, struct sl_str glue,
                          struct sl_str right)
{
    char *out = sl_arena_alloc(a, left.len + glue.len + right.len + 1);

    memcpy(out, left.p, left.len);
    memcpy(out + left.len, glue.p, glue.len);
    memcpy(out + left.len + glue.len, right.p, right.len);
    return sl_str(out, left.len + glue.len + right.len);
}

struct sl_str sl_headers_get_all(const struct sl_headers *h, struct sl_str name, struct sl_arena *a)
{
    enum sl_header_id id = sl_header_id(name);
    struct sl_str glue = id == SL_H_COOKIE ? SL_STR("; ") : SL_STR(", ");
    struct sl_str all = SL_STR_NONE;

    for (unsigned i = 0; i < h->n; i++) {
        if (is_named(&h->at[i], id, name))
            all = all.p == NULL ? h->at[i].value : join(a, all, glue, h->at[i].value);
    }
    return all;
}

void sl_headers_set(struct sl_headers *h, struct sl_arena *a, struct sl_str name,
                    struct sl_str value)
{
    enum sl_header_id id = sl_header_id(name);
    bool is_set = value.p == NULL;

    for (unsigned i = 0; i < h->n; i++) {
        if (!is_named(&h->at[i], id, name))
            continue;
        if (is_set) {
            h->at[i].id = SL_H_REMOVED;
        } else {
            h->at[i].value = sl_arena_dup(a, value);
            is_set = true;
        }
    }
    if (!is_set)
        sl_headers_add_id(h, a, id, sl_arena_dup(a, name), sl_arena_dup(a, value));
}

void sl_headers_remove(struct sl_headers *h, struct sl_str name)
{
    enum sl_header_id id = sl_header_id(name);

    for (unsigned i = 0; i < h->n; i++) {
        if (is_named(&h->at[i], id, name))
            h->at[i].id = SL_H_REMOVED;
    }
}

void sl_headers_remove_id(struct sl_headers *h, enum sl_header_id id)
{
    for (unsigned i = 0; i < h->n; i++) {
        if (h->at[i].id == id)
            h->at[i].id = SL_H_REMOVED;
    }
}

static bool is_token_char(unsigned char c)
{
    return (sl_lower(c) >= 'a' && sl_lower(c) <= 'z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

bool sl_header_name_ok(struct sl_str name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (!is_token_char((unsigned char)name.p[i]))
            return false;
    }
    return name.len > 0;
}

bool sl_header_value_ok(struct sl_str value)
{
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.p[i];

        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

bool sl_method_is_idempotent(struct sl_str m)
{
    static const struct sl_str all[] = {{"GET", 3},    {"HEAD", 4},  {"PUT", 3},
                                        {"DELETE", 6}, {"TRACE", 5}, {"OPTIONS", 7}};

    for (size_t i = 0; i < SL_COUNT(all); i++) {
        if (sl_str_eq(m, all[i]))
            return true;
    }
    return false;
}

const char *sl_status_text(int status)
{
    switch (status) {
#define SL_STATUS_CASE(code, text)                                                                 \
    case code:                                                                                     \
        return text;
        SL_STATUSES(SL_STATUS_CASE)
#undef SL_STATUS_CASE
    default:
        return "";
    }
}

/* 204 must not have it (RFC 9110, 8.6), and that of 304 is the length of the 200 it stands for,
 * which is hardly 0. */
bool sl_response_has_length(const struct sl_response *res)
{
    return res->content_length != SL_LENGTH_UNKNOWN && res->status != 204 &&
           !(res->status == 304 && res->content_length == 0);
}

/* It changes once a second; each thread keeps its own. */
struct sl_str sl_http_date(void)
{
    static __thread char text[40];
    static __thread uint64_t made_at;
    uint64_t now = sl_clock_wall_ms() / 1000;

    if (now != made_at) {
        time_t t = (time_t)now;
        struct tm tm;

        gmtime_r(&t, &tm);
        strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm);
        made_at = now;
    }
    return sl_str(text, 29);
}

/* A registered name or IPv4 literal: what RFC 3986 allows, without percent-encoding, which no host
 * has. */
static bool host_char_ok(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
}

static int parse_port(struct sl_str text, uint16_t *port)
{
    uint64_t value;

    if (text.len == 0)
        return 0; /* "host:" means the default port */
    if (sl_str_to_u64(text, 65535, &value) < 0 || value == 0)
        return SL_E_PROTOCOL;
    *port = (uint16_t)value;
    return 0;
}

static int split_ipv6(struct sl_str authority, struct sl_arena *a, struct sl_str *host,
                      uint16_t *port)
{
    const char *end = memchr(authority.p, ']', authority.len);
    struct in6_addr parsed;
    struct sl_str rest;
    char *text;

    if (end == NULL)
        return SL_E_PROTOCOL;
    *host = sl_arena_dup(a, sl_str(authority.p + 1, (size_t)(end - authority.p) - 1));
    if (memchr(host->p, '\0', host->len) != NULL || inet_pton(AF_INET6, host->p, &parsed) != 1)
        return SL_E_PROTOCOL;
    text = sl_arena_alloc(a, INET6_ADDRSTRLEN); /* one address, one spelling */
    *host = sl_str_c(inet_ntop(AF_INET6, &parsed, text, INET6_ADDRSTRLEN));
    rest = sl_str(end + 1, authority.len - (size_t)(end + 1 - authority.p));
    if (rest.len == 0)
        return 0;
    return rest.p[0] == ':' ? parse_port(sl_str(rest.p + 1, rest.len - 1), port) : SL_E_PROTOCOL;
}

/* Copies in lower case; false when this is no name: a bad character, or an empty label. */
static bool copy_name(char *out, struct sl_str name)
{
    char before = '.';

    for (size_t i = 0; i < name.len; i++) {
        out[i] = (char)sl_lower((unsigned char)name.p[i]);
        if (!host_char_ok((unsigned char)out[i]) || (out[i] == '.' && before == '.'))
            return false;
        before = out[i];
    }
    out[name.len] = '\0';
    return before != '.';
}

int sl_authority_split(struct sl_str authority, struct sl_arena *a, struct sl_str *host,
                       uint16_t *port)
{
    const char *colon;
    struct sl_str name = authority;
    char *out;

    *port = 0;
    *host = sl_str("", 0);
    if (authority.len == 0)
        return 0;
    if (authority.p[0] == '[')
        return split_ipv6(authority, a, host, port);
    colon = memchr(authority.p, ':', authority.len);
    if (colon != NULL) {
        name.len = (size_t)(colon - authority.p);
        if (parse_port(sl_str(colon + 1, authority.len - name.len - 1), port) < 0)
            return SL_E_PROTOCOL;
    }
    if (name.len > 0 && name.p[name.len - 1] == '.')
        name.len--;
    if (name.len == 0 || name.len > 255)
        return SL_E_PROTOCOL;
    out = sl_arena_alloc(a, name.len + 1);
    if (!copy_name(out, name))
        return SL_E_PROTOCOL;
    *host = sl_str(out, name.len);
    return 0;
}
