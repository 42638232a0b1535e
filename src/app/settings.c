#include "app/settings.h"

enum kind {
    KIND_U32,
    KIND_U64,
    KIND_BOOL,
    KIND_NOT, /* a bool that is stored the other way round */
    KIND_IPS,
    KIND_INACTIVITY,
    KIND_TEXT,
    KIND_ADDRESS,
};

#define AT(member) offsetof(struct sl_settings, member)

static const struct row {
    const char *name;
    enum kind kind;
    size_t offset;
} table[] = {
    {"max_target", KIND_U32, AT(proxy.http.max_target)},
    {"max_head", KIND_U32, AT(proxy.http.max_head)},
    {"max_headers", KIND_U32, AT(proxy.http.max_headers)},
    {"max_chunk_ext", KIND_U32, AT(proxy.http.max_chunk_ext)},
    {"head_timeout", KIND_U32, AT(proxy.http.head_timeout)},
    {"body_timeout", KIND_U32, AT(proxy.http.body_timeout)},
    {"write_timeout", KIND_U32, AT(proxy.http.write_timeout)},
    {"idle_timeout", KIND_U32, AT(proxy.http.idle_timeout)},
    {"upgrade_timeout", KIND_U32, AT(proxy.http.upgrade_timeout)},
    {"min_body_rate", KIND_U32, AT(proxy.http.min_body_rate)},
    {"max_discard", KIND_U64, AT(proxy.http.max_discard)},
    {"max_requests", KIND_U64, AT(proxy.http.max_requests)},
    {"max_streams", KIND_U32, AT(proxy.http.max_streams)},
    {"stream_window", KIND_U32, AT(proxy.http.stream_window)},
    {"conn_window", KIND_U32, AT(proxy.http.conn_window)},
    {"max_resets", KIND_U32, AT(proxy.http.max_resets)},
    {"max_pings", KIND_U32, AT(proxy.http.max_pings)},
    {"max_settings", KIND_U32, AT(proxy.http.max_settings)},
    {"max_priorities", KIND_U32, AT(proxy.http.max_priorities)},
    {"max_empty_data", KIND_U32, AT(proxy.http.max_empty_data)},
    {"max_unknown_frames", KIND_U32, AT(proxy.http.max_unknown_frames)},
    {"max_window_updates", KIND_U32, AT(proxy.http.max_window_updates)},
    {"max_settings_entries", KIND_U32, AT(proxy.http.max_settings_entries)},
    {"max_continuations", KIND_U32, AT(proxy.http.max_continuations)},
    {"max_unread_acks", KIND_U32, AT(proxy.http.max_unread_acks)},
    {"handshake_timeout", KIND_U32, AT(proxy.handshake_timeout)},
    {"hook_timeout", KIND_U32, AT(proxy.hook_timeout)},
    {"connect_timeout", KIND_U32, AT(proxy.connect_timeout)},
    {"response_timeout", KIND_U32, AT(proxy.response_timeout)},
    {"response_body_timeout", KIND_U32, AT(proxy.response_body_timeout)},
    {"pipe_timeout", KIND_U32, AT(proxy.pipe_timeout)},
    {"max_connections", KIND_U32, AT(proxy.max_connections)},
    {"udp_idle_timeout", KIND_U32, AT(proxy.udp_idle_timeout)},
    {"max_udp_sessions", KIND_U32, AT(proxy.max_udp_sessions)},
    {"max_body_hook", KIND_U32, AT(proxy.max_body_hook)},
    {"hello_hook", KIND_NOT, AT(proxy.no_hello_hook)},
    {"quic", KIND_NOT, AT(proxy.no_quic)},
    {"quic_idle_timeout", KIND_U32, AT(proxy.quic.idle_timeout)},
    {"quic_keep_alive", KIND_U32, AT(proxy.quic.keep_alive)},
    {"quic_handshake_timeout", KIND_U32, AT(proxy.quic.handshake_timeout)},
    {"quic_max_streams", KIND_U32, AT(proxy.quic.max_streams_bidi)},
    {"quic_stream_window", KIND_U32, AT(proxy.quic.stream_window)},
    {"quic_max_stream_window", KIND_U32, AT(proxy.quic.max_stream_window)},
    {"quic_conn_window", KIND_U32, AT(proxy.quic.conn_window)},
    {"quic_max_conn_window", KIND_U32, AT(proxy.quic.max_conn_window)},
    {"quic_retry_above", KIND_U32, AT(proxy.quic.retry_above)},
    {"quic_max_handshakes", KIND_U32, AT(proxy.quic.max_handshakes)},
    {"quic_resets_per_second", KIND_U32, AT(proxy.quic.resets_per_second)},
    {"quic_early_data", KIND_BOOL, AT(proxy.quic.early_data)},
    {"quic_gso", KIND_NOT, AT(proxy.quic.no_gso)},
    {"quic_pmtud", KIND_NOT, AT(proxy.quic.no_pmtud)},
    {"quic_qlog_dir", KIND_TEXT, AT(proxy.quic.qlog_dir)},
    {"bind_address", KIND_ADDRESS, AT(bind_address)},
    {"drain_timeout", KIND_U32, AT(drain_timeout)},
    {"inactivity_timeout", KIND_INACTIVITY, 0},
    {"accept_proxy", KIND_BOOL, AT(proxy.accept_proxy)},
    {"proxy_ips", KIND_IPS, AT(proxy.trusted)},
};

static const struct row *find(struct sl_str name)
{
    for (size_t i = 0; i < SL_COUNT(table); i++) {
        if (sl_str_eq(name, sl_str_c(table[i].name)))
            return &table[i];
    }
    return NULL;
}

static int wrong(const struct sl_setting *row, const char *expected, struct sl_err *err)
{
    return sl_err_set(err, SL_E_CONFIG, "%.*s: %s expected", SL_STR_FMT(row->name), expected);
}

/* Silence that is tolerated on any connection, in one number. */
static void set_inactivity(struct sl_settings *s, uint32_t ms)
{
    s->proxy.http.idle_timeout = SL_MIN(s->proxy.http.idle_timeout, ms);
    s->proxy.http.upgrade_timeout = ms;
    s->proxy.response_body_timeout = ms;
    s->proxy.pipe_timeout = ms;
}

static int apply_number(struct sl_settings *s, const struct row *to, const struct sl_setting *row,
                        struct sl_err *err)
{
    double most = to->kind == KIND_U64 ? 9e15 : (double)UINT32_MAX;
    char *at = (char *)s + to->offset;

    if (row->kind != SL_SETTING_NUMBER || !(row->number >= 0 && row->number <= most) ||
        row->number != (double)(uint64_t)row->number)
        return wrong(row, "a whole number that is not negative", err);
    if (to->kind == KIND_INACTIVITY)
        set_inactivity(s, (uint32_t)row->number);
    else if (to->kind == KIND_U64)
        *(uint64_t *)(void *)at = (uint64_t)row->number;
    else
        *(uint32_t *)(void *)at = (uint32_t)row->number;
    return 0;
}

static int apply_ips(struct sl_settings *s, const struct sl_setting *row, struct sl_err *err)
{
    struct sl_ip_set set = {0};
    int rc;

    if (row->kind != SL_SETTING_STRINGS && row->kind != SL_SETTING_STRING)
        return wrong(row, "an array of addresses", err);
    rc = sl_ip_set_init(&set, row->strings, row->n_strings, "proxy_ips", err);
    if (rc == 0) {
        sl_ip_set_clear(&s->proxy.trusted);
        s->proxy.trusted = set;
    }
    return rc;
}

/* An empty one is none. */
static int apply_text(struct sl_settings *s, const struct row *to, const struct sl_setting *row,
                      struct sl_err *err)
{
    const char **at = (const char **)(void *)((char *)s + to->offset);

    if (row->kind != SL_SETTING_STRING)
        return wrong(row, "a string", err);
    sl_free((char *)*at);
    *at = row->strings[0].len > 0 ? sl_strndup(row->strings[0].p, row->strings[0].len) : NULL;
    return 0;
}

/* An empty one is all of them. */
static int apply_address(struct sl_settings *s, const struct row *to, const struct sl_setting *row,
                         struct sl_err *err)
{
    struct sl_addr address = {.sa.sa_family = AF_UNSPEC};

    if (row->kind != SL_SETTING_STRING)
        return wrong(row, "an IP address", err);
    if (row->strings[0].len > 0 && sl_addr_parse(&address, row->strings[0], 0) < 0)
        return wrong(row, "an IP address", err);
    *(struct sl_addr *)(void *)((char *)s + to->offset) = address;
    return 0;
}

static int apply_bool(struct sl_settings *s, const struct row *to, const struct sl_setting *row,
                      struct sl_err *err)
{
    if (row->kind != SL_SETTING_BOOL)
        return wrong(row, "true or false", err);
    *(bool *)((char *)s + to->offset) = (row->number != 0) == (to->kind == KIND_BOOL);
    return 0;
}

static int apply_row(struct sl_settings *s, const struct sl_setting *row, struct sl_err *err)
{
    const struct row *to = find(row->name);

    if (to == NULL)
        return sl_err_set(err, SL_E_CONFIG, "%.*s: there is no such limit", SL_STR_FMT(row->name));
    if (to->kind == KIND_IPS)
        return apply_ips(s, row, err);
    if (to->kind == KIND_TEXT)
        return apply_text(s, to, row, err);
    if (to->kind == KIND_ADDRESS)
        return apply_address(s, to, row, err);
    if (to->kind == KIND_BOOL || to->kind == KIND_NOT)
        return apply_bool(s, to, row, err);
    return apply_number(s, to, row, err);
}

void sl_settings_init(struct sl_settings *s)
{
    *s = (struct sl_settings){.proxy = sl_proxy_settings_default, .drain_timeout = 30000};
    s->proxy.quic = sl_quic_settings_default;
}

void sl_settings_clear(struct sl_settings *s)
{
    sl_ip_set_clear(&s->proxy.trusted);
    sl_free((char *)s->proxy.quic.qlog_dir);
}

static void copy(struct sl_settings *to, const struct sl_settings *from)
{
    const char *qlog_dir = from->proxy.quic.qlog_dir;

    *to = *from;
    to->proxy.quic.qlog_dir = qlog_dir != NULL ? sl_strndup(qlog_dir, strlen(qlog_dir)) : NULL;
    sl_ip_set_copy(&to->proxy.trusted, &from->proxy.trusted);
}

int sl_settings_apply(struct sl_settings *s, const struct sl_setting *rows, size_t n,
                      struct sl_err *err)
{
    struct sl_settings changed;

    copy(&changed, s);
    for (size_t i = 0; i < n; i++) {
        int rc = apply_row(&changed, &rows[i], err);

        if (rc < 0) {
            sl_settings_clear(&changed);
            return rc;
        }
    }
    sl_settings_clear(s);
    *s = changed;
    return 0;
}
