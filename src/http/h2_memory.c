/*
 * Where the sessions of nghttp2 have their memory. Each holds a buffer for one whole frame for as
 * long as it lives, of which heads, the only frames that we do not build ourselves, fill a few
 * hundred bytes. In pages of its own what is never touched costs nothing: 12 KiB for each idle
 * connection.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include "http/h2.h"

static void *take(size_t len, void *user)
{
    (void)user;
    return malloc(len);
}

static void *take_zeroed(size_t n, size_t len, void *user)
{
    (void)user;
    return calloc(n, len);
}

static void give_back(void *ptr, void *user)
{
    struct sl_h2_conn *c = user;

    if (ptr != NULL && ptr == c->pages)
        munmap(c->pages, c->n_pages);
    else
        free(ptr);
    if (ptr == c->pages)
        c->pages = NULL;
}

static void *resize_pages(struct sl_h2_conn *c, size_t len)
{
    void *bigger = malloc(len);

    if (bigger == NULL)
        return NULL;
    memcpy(bigger, c->pages, SL_MIN(len, c->n_pages));
    give_back(c->pages, c);
    return bigger;
}

static void *resize(void *ptr, size_t len, void *user)
{
    struct sl_h2_conn *c = user;
    void *pages;

    if (ptr != NULL && ptr == c->pages)
        return resize_pages(c, len);
    if (ptr != NULL || len < 16384 || c->pages != NULL)
        return realloc(ptr, len);
    pages = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
        return malloc(len);
    c->pages = pages;
    c->n_pages = len;
    return pages;
}

nghttp2_mem sl_h2_memory(struct sl_h2_conn *c)
{
    return (nghttp2_mem){c, take, give_back, take_zeroed, resize};
}
