/*
 * Intrusive doubly linked lists. A link is part of the object; the list owns nothing.
 * A link that is in no list is `sl_link_init`ed or zero; removing such a link is legal and does
 * nothing.
 */
#ifndef SL_BASE_LIST_H
#define SL_BASE_LIST_H

#include "base/mem.h"

struct sl_link {
    struct sl_link *prev, *next;
};

struct sl_list {
    struct sl_link head;
};

static inline void sl_list_init(struct sl_list *list)
{
    list->head.prev = list->head.next = &list->head;
}

static inline bool sl_list_is_empty(const struct sl_list *list)
{
    return list->head.next == &list->head;
}

static inline bool sl_link_is_on(const struct sl_link *link)
{
    return link->next != NULL;
}

static inline void sl_link_insert(struct sl_link *before, struct sl_link *link)
{
    link->prev = before->prev;
    link->next = before;
    before->prev->next = link;
    before->prev = link;
}

static inline void sl_list_append(struct sl_list *list, struct sl_link *link)
{
    sl_link_insert(&list->head, link);
}

static inline void sl_list_prepend(struct sl_list *list, struct sl_link *link)
{
    sl_link_insert(list->head.next, link);
}

static inline void sl_link_remove(struct sl_link *link)
{
    if (link->next == NULL)
        return;
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link->prev = link->next = NULL;
}

/* The first link, or NULL. */
static inline struct sl_link *sl_list_first(const struct sl_list *list)
{
    return sl_list_is_empty(list) ? NULL : list->head.next;
}

/* Takes the first link out, or NULL. */
static inline struct sl_link *sl_list_pop(struct sl_list *list)
{
    struct sl_link *link = sl_list_first(list);

    if (link != NULL)
        sl_link_remove(link);
    return link;
}

/* Walks; the body may remove `it`. */
#define sl_list_each(list, it)                                                                     \
    for (struct sl_link *it = (list)->head.next, *it##_next = it->next; it != &(list)->head;       \
         it = it##_next, it##_next = it->next)

#endif
