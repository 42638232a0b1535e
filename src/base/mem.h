/*
 * Memory and assertions.
 *
 * Two families, told apart by who chose the size. The plain ones serve sizes that the program chose
 * and abort when memory is out, so that no caller checks them. The `try` ones serve sizes that a
 * peer or an operator chose: they return NULL, and the caller has a limit in front of them.
 *
 * sl_assert() states what only a bug can break and stays on in release builds; plain assert() is
 * not used.
 */
#ifndef SL_BASE_MEM_H
#define SL_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>

#define SL_MUST_CHECK __attribute__((warn_unused_result))
#define SL_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define SL_NORETURN __attribute__((noreturn))
#define SL_UNUSED __attribute__((unused))
#define SL_LIKELY(x) __builtin_expect(!!(x), 1)
#define SL_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define SL_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define SL_MIN(a, b) ((a) < (b) ? (a) : (b))
#define SL_MAX(a, b) ((a) > (b) ? (a) : (b))

/* The struct of `type` whose member `member` is at `ptr`. */
#define sl_container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

#define sl_assert(cond)                                                                            \
    do {                                                                                           \
        if (SL_UNLIKELY(!(cond)))                                                                  \
            sl_assert_failed(#cond, __FILE__, __LINE__);                                           \
    } while (0)

SL_NORETURN void sl_assert_failed(const char *cond, const char *file, int line);

/* Abort when memory is out; never NULL. sl_free(NULL) is legal. */
void *sl_alloc(size_t len);
void *sl_zalloc(size_t len);
void *sl_realloc(void *ptr, size_t len);
char *sl_strndup(const char *s, size_t len);
char *sl_strdup(const char *s);
void sl_free(void *ptr);

/* NULL when memory is out. */
SL_MUST_CHECK void *sl_try_alloc(size_t len);
SL_MUST_CHECK void *sl_try_realloc(void *ptr, size_t len);

#endif
