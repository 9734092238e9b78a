/* Serving: a page is here, or lost, and whoever touched it goes on, or ends. */
#include "core/host/history.h"
#include "core/host/host.h"

/* The pages around `page` that `joins` accepts: those of its aligned window of `window` pages, and
 * of its reach where that is more. */
struct dsm_run dsm_serve_around(struct dsm_host *host, const struct dsm_page *page, uint32_t window,
                                int32_t reach,
                                bool (*joins)(const struct dsm_host *, const struct dsm_page *,
                                              const struct dsm_page *)) {
    const struct dsm_region *region = dsm_at(host, page->region);
    uint32_t low = page->index & ~(window - 1), high = low + window;
    struct dsm_run run = {page->index, page->index + 1};
    struct dsm_run reached = dsm_row_reached(host, page, reach);
    if (high > region->pages) high = region->pages;
    if (reached.end > high) high = reached.end;
    if (reached.first < low) low = reached.first;
    /* A window lies within one chunk, so its records stand side by side. */
    while (run.first > low && joins(host, page, page - (page->index - run.first) - 1))
        run.first--;
    while (run.end < high && joins(host, page, page + (run.end - page->index)))
        run.end++;
    return run;
}

static uint32_t map_class(const struct dsm_page *page) {
    switch (page->state) {
    case DSM_ZERO:
        return 1;
    case DSM_CLEAN:
    case DSM_HOME:
        return 2;
    case DSM_DIRTY:
    case DSM_HOME_DIRTY:
    case DSM_HOME_PRIVATE:
        return 3;
    default:
        return 0;
    }
}

static bool maps_alike(const struct dsm_host *host, const struct dsm_page *a,
                       const struct dsm_page *b) {
    if (b->state == DSM_ZERO && b->home == host->config.host) return false;
    return map_class(a) == map_class(b);
}

/* The page is here and may be used as it is: map it, and its likes around it. Mapping costs little;
 * making fresh pages costs memory, so that they come by rows only. */
void dsm_serve_map(struct dsm_host *host, struct dsm_page *page, uint32_t client, int32_t reach) {
    uint32_t window = page->state == DSM_ZERO ? 1 : host->config.run;
    struct dsm_run run = dsm_serve_around(host, page, window, reach, maps_alike);
    struct dsm_page *first = page - (page->index - run.first);
    if (page->state == DSM_ZERO)
        for (uint32_t i = 0; i < run.end - run.first; i++)
            dsm_page_act(host, DSM_ACT_ZERO, first + i);
    dsm_page_map(host, first, run.end - run.first, client, map_class(page) == 3);
    dsm_row_used(first, run.end - run.first);
    uint64_t id = dsm_page_id(host, first);
    dsm_row_brought(host, id, id + run.end - run.first);
}

void dsm_serve_poison(struct dsm_host *host, struct dsm_page *page) {
    for (dsm_ref at = page->waiters; at; at = dsm_next(host, at)) {
        const struct dsm_waiter *waiter = dsm_at(host, at);
        struct dsm_action *action = dsm_act(host->out, DSM_ACT_POISON);
        action->id = dsm_page_id(host, page);
        action->client = waiter->client;
        action->host =
            dsm_page_is_homeless(host, page) ? dsm_history_culprit(host, page) : page->home;
    }
    page->state = DSM_LOST;
    dsm_page_forget_waiters(host, page);
}

void dsm_serve_write(struct dsm_host *host, struct dsm_page *page, uint32_t client, int32_t reach) {
    struct dsm_run run = dsm_run_open(host, page, reach);
    dsm_page_map(host, page - (page->index - run.first), run.end - run.first, client, true);
}

void dsm_serve_waiters(struct dsm_host *host, struct dsm_page *first, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        for (dsm_ref at = first[i].waiters; at; at = dsm_next(host, at)) {
            const struct dsm_waiter *waiter = dsm_at(host, at);
            if (waiter->write) continue;
            dsm_page_map(host, first, count, waiter->client, false);
            dsm_row_used(first, count);
        }
    for (uint32_t i = 0; i < count; i++) {
        for (dsm_ref at = first[i].waiters; at; at = dsm_next(host, at)) {
            const struct dsm_waiter *waiter = dsm_at(host, at);
            if (!waiter->write) continue;
            if (first[i].state == DSM_CLEAN || first[i].state == DSM_HOME)
                dsm_serve_write(host, &first[i], waiter->client, waiter->reach);
            else
                dsm_page_map(host, &first[i], 1, waiter->client, true);
        }
        dsm_page_forget_waiters(host, &first[i]);
    }
}
