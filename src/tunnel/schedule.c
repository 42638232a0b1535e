#include "tunnel/schedule.h"

/* The time in which the average rate forgets half of what it knew, and more when it is told often.
 */
#define RATE_SPAN_MS 4000.0

void sl_schedule_init(struct sl_schedule *s, uint64_t now_ms)
{
    *s = (struct sl_schedule){.tokens = SL_SCHEDULE_BURST, .filled_ms = now_ms};
    sl_list_init(&s->tiers[SL_TIER_DATA]);
    sl_list_init(&s->tiers[SL_TIER_SUSTAINED]);
}

void sl_flow_init(struct sl_flow *f, uint64_t now_ms)
{
    *f = (struct sl_flow){.started_ms = now_ms, .rated_ms = now_ms};
}

static void enqueue(struct sl_schedule *s, struct sl_flow *f)
{
    f->is_ready = true;
    s->n_ready[f->tier]++;
    sl_list_append(&s->tiers[f->tier], &f->link);
}

void sl_schedule_ready(struct sl_schedule *s, struct sl_flow *f)
{
    if (!f->is_ready)
        enqueue(s, f);
}

void sl_schedule_idle(struct sl_schedule *s, struct sl_flow *f)
{
    if (!f->is_ready)
        return;
    f->is_ready = false;
    f->deficit = 0;
    s->n_ready[f->tier]--;
    sl_link_remove(&f->link);
}

static void fill(struct sl_schedule *s, uint64_t now_ms)
{
    double passed = (double)(now_ms - s->filled_ms);

    s->tokens = SL_MIN(s->tokens + passed * (SL_SCHEDULE_FLOOR / 1000.0), SL_SCHEDULE_BURST);
    s->filled_ms = now_ms;
}

/* The sustained tier comes first while its floor is not reached: a whole quantum must be there, so
 * that the floor does not cut its data into crumbs. */
static enum sl_tier choose(struct sl_schedule *s, uint64_t now_ms)
{
    fill(s, now_ms);
    if (s->n_ready[SL_TIER_DATA] == 0)
        return SL_TIER_SUSTAINED;
    if (s->n_ready[SL_TIER_SUSTAINED] > 0 && s->tokens >= SL_SCHEDULE_QUANTUM)
        return SL_TIER_SUSTAINED;
    return SL_TIER_DATA;
}

struct sl_flow *sl_schedule_next(struct sl_schedule *s, uint64_t now_ms, size_t *most)
{
    enum sl_tier tier = choose(s, now_ms);
    struct sl_flow *f;

    if (s->n_ready[tier] == 0)
        return NULL;
    f = sl_container_of(sl_list_first(&s->tiers[tier]), struct sl_flow, link);
    if (f->deficit == 0)
        f->deficit = SL_SCHEDULE_QUANTUM;
    *most = f->deficit;
    return f;
}

/* Each byte counts less the longer ago it was sent. */
static void rate(struct sl_flow *f, size_t n, uint64_t now_ms)
{
    double passed = (double)(now_ms - f->rated_ms);

    f->rate =
        f->rate * (RATE_SPAN_MS / (RATE_SPAN_MS + passed)) + (double)n * (1000.0 / RATE_SPAN_MS);
    f->rated_ms = now_ms;
}

static enum sl_tier tier_of(const struct sl_flow *f, uint64_t now_ms)
{
    double limit = f->tier == SL_TIER_SUSTAINED ? SL_SUSTAINED_RATE / 2.0 : SL_SUSTAINED_RATE;

    if (now_ms - f->started_ms < SL_SUSTAINED_AGE_MS || f->rate <= limit)
        return SL_TIER_DATA;
    return SL_TIER_SUSTAINED;
}

void sl_schedule_sent(struct sl_schedule *s, struct sl_flow *f, size_t n, bool has_more,
                      uint64_t now_ms)
{
    uint32_t left = f->deficit - (uint32_t)SL_MIN(n, (size_t)f->deficit);
    enum sl_tier tier;

    rate(f, n, now_ms);
    if (f->tier == SL_TIER_SUSTAINED)
        s->tokens = SL_MAX(s->tokens - (double)n, 0.0);
    tier = tier_of(f, now_ms);
    if (has_more && left > 0 && tier == f->tier) {
        f->deficit = left; /* its turn goes on */
        return;
    }
    sl_schedule_idle(s, f);
    f->tier = tier;
    if (has_more)
        enqueue(s, f);
}
