#include "app/trim.h"
#include "base/check.h"

/* How many looks with this count until one is due; 0: none of a hundred. */
static unsigned looks(struct sl_trim *t, uint64_t count)
{
    for (unsigned i = 1; i <= 100; i++) {
        if (sl_trim_is_due(t, count))
            return i;
    }
    return 0;
}

static void few_connections_are_no_rush(void)
{
    struct sl_trim t = {0};

    sl_check(!sl_trim_is_due(&t, SL_TRIM_LEAST - 1));
    sl_check(looks(&t, 0) == 0);
}

static void after_a_rush_once(void)
{
    struct sl_trim t = {0};

    sl_check(looks(&t, 4000) == 0);
    sl_check(looks(&t, 1001) == 0);
    sl_check(looks(&t, 1000) == SL_TRIM_QUIET);
    sl_check(looks(&t, 251) == 0);
    sl_check(looks(&t, 250) == SL_TRIM_QUIET);
    sl_check(looks(&t, 0) == 0); /* 250 were no rush */
}

static void not_before_it_is_quiet(void)
{
    struct sl_trim t = {0};

    sl_check(!sl_trim_is_due(&t, 1000));
    for (int i = 0; i < 20; i++) {
        for (int k = 1; k < SL_TRIM_QUIET; k++)
            sl_check(!sl_trim_is_due(&t, 10));
        sl_check(!sl_trim_is_due(&t, 800));
    }
    sl_check(looks(&t, 10) == SL_TRIM_QUIET);
}

int main(void)
{
    few_connections_are_no_rush();
    after_a_rush_once();
    not_before_it_is_quiet();
    return sl_check_done();
}
