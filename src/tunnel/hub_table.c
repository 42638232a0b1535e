#include <openssl/crypto.h>
#include <openssl/evp.h>
#include "tunnel/hub_internal.h"

/* --- entries --- */

static void digest(struct sl_str secret, uint8_t out[SL_HUB_DIGEST])
{
    sl_assert(EVP_Digest(secret.p, secret.len, out, NULL, EVP_sha256(), NULL) == 1);
}

static void replace(struct sl_str *old, struct sl_str with)
{
    sl_free((char *)old->p);
    *old = sl_str(sl_strndup(with.len > 0 ? with.p : "", with.len), with.len);
}

static struct sl_hub_entry *add(struct sl_hub_table *t, struct sl_str id)
{
    struct sl_hub_entry *e = sl_zalloc(sizeof(*e));

    replace(&e->id, id);
    *sl_map_at(&t->by_id, e->id) = e;
    return e;
}

static void disconnect(struct sl_hub_entry *e, const char *why)
{
    if (e->conn != NULL)
        sl_hub_conn_drop(e->conn, why);
    if (e->edge != NULL)
        sl_hub_edge_drop(e->edge, why);
}

static void remove_entry(struct sl_hub_table *t, struct sl_hub_entry *e, const char *why)
{
    disconnect(e, why);
    sl_map_remove(&t->by_id, e->id);
    sl_link_remove(&e->link);
    sl_free((char *)e->id.p);
    sl_free((char *)e->config.p);
    sl_free(e);
}

/* Without the white space of JSON at both ends. */
static struct sl_str trim(struct sl_str s)
{
    while (s.len > 0 && strchr(" \t\r\n", s.p[0]) != NULL)
        s = sl_str(s.p + 1, s.len - 1);
    while (s.len > 0 && strchr(" \t\r\n", s.p[s.len - 1]) != NULL)
        s.len--;
    return s;
}

/* --- changes --- */

static void set_secret(struct sl_hub_entry *e, struct sl_str secret)
{
    uint8_t now[SL_HUB_DIGEST];

    digest(secret, now);
    if (memcmp(now, e->secret, sizeof(now)) == 0)
        return;
    memcpy(e->secret, now, sizeof(now));
    disconnect(e, "its secret has changed");
}

static void set_config(struct sl_hub_entry *e, struct sl_str config)
{
    if (sl_str_eq(config, e->config))
        return;
    replace(&e->config, config);
    if (e->edge != NULL)
        sl_hub_edge_send_config(e->edge);
    if (e->conn != NULL)
        sl_hub_conn_reconfigure(e->conn);
}

static bool is_usable(const struct sl_hub_edge_spec *spec)
{
    struct sl_greeting g = {spec->id, spec->secret};
    struct sl_str json = trim(spec->config);
    bool ok = sl_greeting_ok(&g) && json.len >= 2 && json.len <= SL_FRAME_CONFIG_MAX / 2 &&
              json.p[0] == '{' && json.p[json.len - 1] == '}';

    if (!ok)
        sl_log_error("an edge of the list cannot be used", sl_f_strn("edge", spec->id));
    return ok;
}

static void take_spec(struct sl_hub_table *t, const struct sl_hub_edge_spec *spec)
{
    struct sl_hub_entry *e = sl_map_get(&t->by_id, spec->id);

    if (e == NULL)
        e = add(t, spec->id);
    sl_link_remove(&e->link);
    sl_list_append(&t->list, &e->link);
    e->is_listed = true;
    set_secret(e, spec->secret);
    set_config(e, spec->config);
}

void sl_hub_set_edges(struct sl_hub *h, const struct sl_hub_edge_spec *specs, size_t n)
{
    struct sl_hub_table *t = &h->table;

    sl_list_each(&t->list, it)
    {
        sl_container_of(it, struct sl_hub_entry, link)->is_listed = false;
    }
    for (size_t i = 0; i < n; i++) {
        if (is_usable(&specs[i]))
            take_spec(t, &specs[i]);
    }
    sl_list_each(&t->list, it)
    {
        struct sl_hub_entry *e = sl_container_of(it, struct sl_hub_entry, link);

        if (!e->is_listed)
            remove_entry(t, e, "not in the list of edges any more");
    }
}

/* --- greetings --- */

struct sl_hub_entry *sl_hub_table_check(const struct sl_hub_table *t, const struct sl_greeting *g,
                                        bool *is_known)
{
    static const uint8_t nobody[SL_HUB_DIGEST];
    struct sl_hub_entry *e = sl_map_get(&t->by_id, g->id);
    uint8_t given[SL_HUB_DIGEST];
    bool is_right;

    digest(g->secret, given);
    is_right = CRYPTO_memcmp(given, e != NULL ? e->secret : nobody, sizeof(given)) == 0;
    *is_known = e != NULL;
    return is_right ? e : NULL;
}

/* The operator's JSON may have been written over several lines; no string in it can hold a line
 * end, so that each of them is as good as a space. */
static void append_in_a_line(struct sl_buf *out, struct sl_str json)
{
    size_t begin = sl_buf_len(out);

    sl_buf_append_str(out, json);
    for (uint8_t *p = sl_buf_at(out) + begin; p < sl_buf_at(out) + sl_buf_len(out); p++) {
        if (*p == '\n' || *p == '\r')
            *p = ' ';
    }
}

void sl_hub_table_answer(const struct sl_hub_entry *entry, const uint8_t ticket[SL_RESUME_TICKET],
                         struct sl_buf *out)
{
    struct sl_str json = trim(entry->config);
    struct sl_str members = sl_str(json.p + 1, json.len - 2); /* between the braces */

    sl_buf_append_str(out, SL_STR("{"));
    append_in_a_line(out, members);
    if (trim(members).len > 0)
        sl_buf_append_str(out, SL_STR(","));
    sl_buf_append_str(out, SL_STR("\"sluice\":{\"ticket\":\""));
    for (int i = 0; i < SL_RESUME_TICKET; i++)
        sl_buf_printf(out, "%02x", ticket[i]);
    sl_buf_append_str(out, SL_STR("\"}}\n"));
}

/* --- life --- */

void sl_hub_table_init(struct sl_hub_table *t)
{
    sl_list_init(&t->list);
}

void sl_hub_table_clear(struct sl_hub_table *t)
{
    sl_list_each(&t->list, it)
    {
        remove_entry(t, sl_container_of(it, struct sl_hub_entry, link), "the hub ends");
    }
    sl_map_clear(&t->by_id);
}
