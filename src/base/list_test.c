#include "base/list.h"
#include "base/check.h"

struct item {
    char name;
    struct sl_link link;
};

/* The names in their order; they are walked to the end even when it is long. */
static struct sl_str names(struct sl_list *list)
{
    static char text[16];
    size_t n = 0;

    sl_list_each(list, it)
    {
        if (n < sizeof(text))
            text[n++] = sl_container_of(it, struct item, link)->name;
    }
    return sl_str(text, n);
}

static void order_is_kept(void)
{
    struct item a = {.name = 'a'}, b = {.name = 'b'}, c = {.name = 'c'};
    struct sl_list list;

    sl_list_init(&list);
    sl_check(sl_list_is_empty(&list) && sl_list_first(&list) == NULL && sl_list_pop(&list) == NULL);
    sl_list_append(&list, &b.link);
    sl_list_append(&list, &c.link);
    sl_list_prepend(&list, &a.link);
    sl_check_str(names(&list), SL_STR("abc"));
    sl_link_remove(&b.link);
    sl_check_str(names(&list), SL_STR("ac"));
    sl_link_insert(&c.link, &b.link);
    sl_check_str(names(&list), SL_STR("abc"));
    sl_check(sl_list_pop(&list) == &a.link && !sl_link_is_on(&a.link) && sl_link_is_on(&b.link));
    sl_check_str(names(&list), SL_STR("bc"));
}

static void a_link_may_be_removed_twice(void)
{
    struct item a = {.name = 'a'};
    struct sl_list list;

    sl_list_init(&list);
    sl_link_remove(&a.link);
    sl_list_append(&list, &a.link);
    sl_link_remove(&a.link);
    sl_link_remove(&a.link);
    sl_check(sl_list_is_empty(&list));
}

static void a_walk_may_remove_where_it_stands(void)
{
    struct item items[4] = {{.name = 'a'}, {.name = 'b'}, {.name = 'c'}, {.name = 'd'}};
    struct sl_list list;

    sl_list_init(&list);
    for (size_t i = 0; i < SL_COUNT(items); i++)
        sl_list_append(&list, &items[i].link);
    sl_list_each(&list, it)
    {
        if (sl_container_of(it, struct item, link)->name != 'c')
            sl_link_remove(it);
    }
    sl_check_str(names(&list), SL_STR("c"));
}

int main(void)
{
    order_is_kept();
    a_link_may_be_removed_twice();
    a_walk_may_remove_where_it_stands();
    return sl_check_done();
}
