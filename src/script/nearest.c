#include "script/nearest.h"

enum { NAME_MAX_LEN = 40 };

/* Levenshtein's distance, row by row; case is ignored. Both names are short. */
static unsigned distance(struct sl_str a, struct sl_str b)
{
    unsigned row[NAME_MAX_LEN + 1];

    for (unsigned j = 0; j <= b.len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        unsigned diagonal = row[0];

        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b.len; j++) {
            bool same = sl_lower((unsigned char)a.p[i - 1]) == sl_lower((unsigned char)b.p[j - 1]);
            unsigned changed = diagonal + !same;

            diagonal = row[j];
            row[j] = SL_MIN(changed, SL_MIN(row[j], row[j - 1]) + 1);
        }
    }
    return row[b.len];
}

const char *sl_nearest(struct sl_str name, const char *const *names)
{
    const char *best = NULL;
    unsigned least = (unsigned)name.len / 3 + 1;

    if (name.len == 0 || name.len > NAME_MAX_LEN)
        return NULL;
    for (; *names != NULL; names++) {
        struct sl_str known = sl_str_c(*names);
        unsigned d = known.len <= NAME_MAX_LEN ? distance(name, known) : NAME_MAX_LEN;

        if (d <= least && (best == NULL || d < least)) {
            best = *names;
            least = d;
        }
    }
    return best;
}
