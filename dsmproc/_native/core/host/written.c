/* A written page's turn in a publish: it is announced, compared, or claimed. */
#include "core/host/host.h"

enum {
    IDLE_MAX = 64,  /* publishes without a change after which a bound page is protected again */
    KEPT_MAX = 256, /* dirty pages above which bound ones are treated as any other */
};

/* Copies given out before now are older than the notice that is owed, so none is held any more, and
 * it need not be protected (8). Under scope consistency a notice does not end the copies of all who
 * take a lock: each write is noticed. */
void dsm_written_rests(struct dsm_host *host, struct dsm_page *page) {
    if (host->config.model == DSM_SCC && DSM_RULE_ON(host, DSM_RULE_NOTICED)) {
        dsm_page_act(host, DSM_ACT_PROTECT, page);
        page->state = DSM_HOME;
        page->flags |= DSM_HELD;
    } else {
        page->state = DSM_HOME_PRIVATE;
        page->flags &= (uint16_t)~DSM_HELD;
    }
}

/* Our own page: others hear of it by the notice, and read it here. */
void dsm_written_home(struct dsm_host *host, struct dsm_page *page) {
    dsm_written_rests(host, page);
    page->changes++;
    if (page->streak < UINT8_MAX) page->streak++;
    dsm_feed_noticed(host, page);
    dsm_page_owe(host, page, true);
}

void dsm_written_become_home(struct dsm_host *host, struct dsm_page *page) {
    page->home = (uint16_t)host->config.host;
    dsm_page_act(host, DSM_ACT_UNTWIN, page);
    dsm_written_home(host, page);
}

static bool keeps_bound(const struct dsm_host *host, const struct dsm_page *page) {
    return page->run & DSM_BOUND && page->idle < IDLE_MAX && host->ndirty < KEPT_MAX;
}

static void look_at_bound(struct dsm_host *host, struct dsm_page *page) {
    bool keep = keeps_bound(host, page);
    dsm_page_compare_as(host, page, (struct dsm_compared){.keep = keep, .bound = 1});
}

void dsm_written_look_at(struct dsm_host *host, struct dsm_page *page) {
    if (page->state == DSM_HOME_DIRTY && page->run & DSM_HOME_TWIN) {
        look_at_bound(host, page);
    } else if (page->state == DSM_HOME_DIRTY) {
        dsm_written_home(host, page);
    } else if (page->state == DSM_DIRTY && page->home != DSM_NO_HOST) {
        bool keep = dsm_page_is_hot(host, page) || keeps_bound(host, page);
        dsm_page_compare(host, page, false, keep);
    } else if (page->state == DSM_DIRTY && !DSM_RULE_ON(host, DSM_RULE_CLAIM)) {
        dsm_written_become_home(host, page);
    } else if (page->state == DSM_DIRTY && !(page->flags & DSM_CLAIMED)) {
        page->flags |= DSM_CLAIMED;
        host->claim[host->nclaim++] = dsm_page_id(host, page);
    } /* else: it was flushed early or dropped since it came into the queue */
}
