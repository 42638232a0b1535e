#include "http/message.h"

#include "base/check.h"

static struct sl_arena arena;

static const struct {
    enum sl_header_id id;
    const char *name;
} known[] = {
#define SL_HEADER_ROW(id, name) {SL_H_##id, name},
    SL_HEADER_NAMES(SL_HEADER_ROW)
#undef SL_HEADER_ROW
};

static void every_known_name_is_found(void)
{
    for (size_t i = 0; i < SL_COUNT(known); i++) {
        char upper[40];
        size_t len = strlen(known[i].name);

        for (size_t k = 0; k <= len; k++)
            upper[k] = (char)(known[i].name[k] >= 'a' ? known[i].name[k] - 32 : known[i].name[k]);
        if (sl_header_id(sl_str_c(known[i].name)) != known[i].id)
            fprintf(stderr, "%s has another id\n", known[i].name);
        sl_check(sl_header_id(sl_str_c(known[i].name)) == known[i].id);
        sl_check(sl_header_id(sl_str(upper, len)) == known[i].id);
        sl_check(sl_header_id(sl_str(upper, len - 1)) != known[i].id);
    }
    sl_check(sl_header_id(SL_STR("x-request-id")) == SL_H_OTHER);
    sl_check(sl_header_id(SL_STR("a-name-that-is-longer-than-all-others")) == SL_H_OTHER);
    sl_check(sl_header_id(SL_STR("")) == SL_H_OTHER);
}

/* "name=value|…" of what is there. */
static struct sl_str all_of(const struct sl_headers *h)
{
    struct sl_str text = SL_STR("");

    for (unsigned i = 0; i < h->n; i++) {
        if (h->at[i].id != SL_H_REMOVED)
            text = sl_arena_printf(&arena, "%.*s%.*s=%.*s|", SL_STR_FMT(text),
                                   SL_STR_FMT(h->at[i].name), SL_STR_FMT(h->at[i].value));
    }
    return text;
}

static void headers_are_added_found_and_joined(void)
{
    struct sl_headers h = {0};

    sl_check(sl_headers_find(&h, SL_STR("a")) == NULL);
    sl_check(sl_headers_get_all(&h, SL_STR("a"), &arena).p == NULL);
    sl_headers_add(&h, &arena, SL_STR("X-A"), SL_STR("1"));
    sl_headers_add(&h, &arena, SL_STR("Cookie"), SL_STR("a=b"));
    sl_headers_add(&h, &arena, SL_STR("x-a"), SL_STR(""));
    sl_headers_add(&h, &arena, SL_STR("cookie"), SL_STR("c=d"));
    sl_headers_add(&h, &arena, SL_STR("X-a"), SL_STR("3"));
    sl_check_str(sl_headers_get(&h, SL_STR("x-A")), SL_STR("1"));
    sl_check_str(sl_headers_get_all(&h, SL_STR("x-a"), &arena), SL_STR("1, , 3"));
    sl_check_str(sl_headers_get_all(&h, SL_STR("COOKIE"), &arena), SL_STR("a=b; c=d"));
    sl_check(sl_headers_find_id(&h, SL_H_COOKIE) == &h.at[1]);
    sl_check(sl_headers_get(&h, SL_STR("x-b")).p == NULL);
}

static void many_headers_keep_their_order(void)
{
    struct sl_headers h = {0};

    for (int i = 0; i < 100; i++)
        sl_headers_add(&h, &arena, SL_STR("N"), sl_arena_printf(&arena, "%d", i));
    sl_check(h.n == 100);
    for (int i = 0; i < 100; i++)
        sl_check_str(h.at[i].value, sl_arena_printf(&arena, "%d", i));
}

static void setting_replaces_all_and_removing_leaves_none(void)
{
    struct sl_headers h = {0};
    char value[] = "new";

    sl_headers_add(&h, &arena, SL_STR("A"), SL_STR("1"));
    sl_headers_add(&h, &arena, SL_STR("Host"), SL_STR("h"));
    sl_headers_add(&h, &arena, SL_STR("a"), SL_STR("2"));
    sl_headers_set(&h, &arena, SL_STR("a"), sl_str(value, 3));
    value[0] = 'X'; /* it was copied */
    sl_check_str(all_of(&h), SL_STR("A=new|Host=h|"));
    sl_headers_set(&h, &arena, SL_STR("b"), SL_STR(""));
    sl_check_str(all_of(&h), SL_STR("A=new|Host=h|b=|"));
    sl_headers_set(&h, &arena, SL_STR("A"), SL_STR_NONE);
    sl_headers_set(&h, &arena, SL_STR("missing"), SL_STR_NONE);
    sl_headers_remove_id(&h, SL_H_HOST);
    sl_headers_add(&h, &arena, SL_STR("Twice"), SL_STR("1"));
    sl_headers_add(&h, &arena, SL_STR("twice"), SL_STR("2"));
    sl_headers_remove(&h, SL_STR("TWICE"));
    sl_check_str(all_of(&h), SL_STR("b=|"));
    sl_check(sl_headers_find(&h, SL_STR("host")) == NULL);
    sl_headers_set(&h, &arena, SL_STR("host"), SL_STR("again"));
    sl_check_str(all_of(&h), SL_STR("b=|host=again|"));
}

static void names_and_values_are_checked(void)
{
    static const struct {
        const char *text;
        bool name_ok, value_ok;
    } rows[] = {
        {"X-A_b.c!#$%&'*+^`|~0", true, true},
        {"", false, true},
        {"a b", false, true},
        {"a\tb", false, true},
        {"a:b", false, true},
        {"a(b)", false, true},
        {"\"a\"", false, true},
        {"a/b", false, true},
        {"\xc3\xa4", false, true},
        {"a\rb", false, false},
        {"a\nb", false, false},
        {"a\x01", false, false},
        {"a\x7f", false, false},
    };

    for (size_t i = 0; i < SL_COUNT(rows); i++) {
        sl_check(sl_header_name_ok(sl_str_c(rows[i].text)) == rows[i].name_ok);
        sl_check(sl_header_value_ok(sl_str_c(rows[i].text)) == rows[i].value_ok);
    }
    sl_check(!sl_header_name_ok(sl_str("a\0b", 3)) && !sl_header_value_ok(sl_str("a\0b", 3)));
}

static const struct {
    const char *authority, *host; /* NULL: refused */
    uint16_t port;
} authorities[] = {
    {"a.example", "a.example", 0},
    {"A.ExAmPlE:8080", "a.example", 8080},
    {"a.example.", "a.example", 0},
    {"a.example.:443", "a.example", 443},
    {"a.example:", "a.example", 0},
    {"a.example:65535", "a.example", 65535},
    {"my_host-1", "my_host-1", 0},
    {"192.0.2.1:1", "192.0.2.1", 1},
    {"[::1]", "::1", 0},
    {"[2001:DB8::1]:8443", "2001:db8::1", 8443},
    {"[::1]:", "::1", 0},
    {"", "", 0},
    {"a.example:0", NULL, 0},
    {"a.example:65536", NULL, 0},
    {"a.example:80:80", NULL, 0},
    {"a.example:+80", NULL, 0},
    {"a.example: 80", NULL, 0},
    {"a.example:80/", NULL, 0},
    {":80", NULL, 0},
    {".", NULL, 0},
    {"..", NULL, 0},
    {"a..example", NULL, 0},
    {".example", NULL, 0},
    {"user@a.example", NULL, 0},
    {"a.example/x", NULL, 0},
    {"a.example?x", NULL, 0},
    {"a.example#x", NULL, 0},
    {"a example", NULL, 0},
    {" a.example", NULL, 0},
    {"a.example\t", NULL, 0},
    {"a,b", NULL, 0},
    {"a%2eexample", NULL, 0},
    {"a\\b", NULL, 0},
    {"\xc3\xa4.example", NULL, 0},
    {"*", NULL, 0},
    {"[::1", NULL, 0},
    {"[::1]x", NULL, 0},
    {"[::1]80", NULL, 0},
    {"[::1]:99999", NULL, 0},
    {"[]", NULL, 0},
    {"[1.2.3.4]", NULL, 0},
    {"[fe80::1%25eth0]", NULL, 0},
    {"[a.example]", NULL, 0},
    {"::1", NULL, 0},
};

static void authorities_are_split(void)
{
    for (size_t i = 0; i < SL_COUNT(authorities); i++) {
        struct sl_str host;
        uint16_t port;
        int rc = sl_authority_split(sl_str_c(authorities[i].authority), &arena, &host, &port);

        if (rc != (authorities[i].host != NULL ? 0 : SL_E_PROTOCOL))
            fprintf(stderr, "\"%s\"\n", authorities[i].authority);
        sl_check(rc == (authorities[i].host != NULL ? 0 : SL_E_PROTOCOL));
        if (rc == 0) {
            sl_check_str(host, sl_str_c(authorities[i].host));
            sl_check(port == authorities[i].port);
        }
    }
}

static void a_host_has_at_most_255_bytes(void)
{
    char name[300];
    struct sl_str host;
    uint16_t port;

    memset(name, 'a', sizeof(name));
    sl_check(sl_authority_split(sl_str(name, 255), &arena, &host, &port) == 0);
    sl_check(sl_authority_split(sl_str(name, 256), &arena, &host, &port) == SL_E_PROTOCOL);
    sl_check(sl_authority_split(sl_str("a\0b", 3), &arena, &host, &port) == SL_E_PROTOCOL);
    sl_check(sl_authority_split(sl_str("[::1\0]", 6), &arena, &host, &port) == SL_E_PROTOCOL);
}

static void statuses_and_methods(void)
{
    sl_check_str(sl_str_c(sl_status_text(421)), SL_STR("Misdirected Request"));
    sl_check_str(sl_str_c(sl_status_text(299)), SL_STR(""));
    sl_check(sl_method_is_idempotent(SL_STR("GET")) && sl_method_is_idempotent(SL_STR("DELETE")));
    sl_check(!sl_method_is_idempotent(SL_STR("POST")) && !sl_method_is_idempotent(SL_STR("get")));
    sl_check(!sl_method_is_idempotent(SL_STR("PATCH")));
}

int main(void)
{
    every_known_name_is_found();
    headers_are_added_found_and_joined();
    many_headers_keep_their_order();
    setting_replaces_all_and_removing_leaves_none();
    names_and_values_are_checked();
    authorities_are_split();
    a_host_has_at_most_255_bytes();
    statuses_and_methods();
    sl_arena_clear(&arena);
    return sl_check_done();
}
