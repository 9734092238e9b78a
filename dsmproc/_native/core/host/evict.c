/* Giving up memory: copies that their home can send again, and pages that are known to be zero.
 *
 * A hand goes round all pages of all regions, and takes what it finds: in a sequential scan that is
 * the copy fetched longest ago. Never taken: home pages, written pages (the next publish makes
 * copies of them), and a copy that may become the home's page (move.c). A copy whose home is gone
 * may be the newest one: it is sought first. No byte leaves the host by this (LENT).
 */
#include "core/host/host.h"

enum { LOOKED_AT = 4096 }; /* most pages that one step looks at */

static bool is_spare(const struct dsm_host *host, const struct dsm_page *page) {
    if (page->waiters || page->flags) return false;
    if (page->state != DSM_ZERO && dsm_page_is_homeless(host, page))
        return dsm_homeless_is_spare(host, page);
    return page->state == DSM_CLEAN || page->state == DSM_ZERO;
}

static void evict(struct dsm_host *host, struct dsm_page *page) {
    dsm_page_act(host, DSM_ACT_PUNCH, page);
    page->run &= (uint8_t)~DSM_AHEAD;
    if (page->state == DSM_ZERO) return;
    page->state = DSM_ABSENT;
    if (host->config.model == DSM_SC) dsm_single_evicted(host, page);
    dsm_count(host, DSM_COUNT_EVICTIONS, 1);
}

/* The region under the hand, the first one if that has ended; NULL when all were passed. */
static const struct dsm_region *region_at_hand(struct dsm_host *host) {
    const struct dsm_region *region = dsm_region_find(host, host->hand >> 32);
    if (region && (uint32_t)host->hand < region->pages) return region;
    dsm_ref next = region ? region->next : host->region_list;
    host->hand = 0;
    if (!next) return NULL;
    region = dsm_at(host, next);
    host->hand = (uint64_t)region->id << 32;
    return region;
}

int dsm_evict_pages(struct dsm_host *host, const struct dsm_event *event) {
    host->tight = event->client != 0;
    uint64_t left = event->arg < DSM_EVICT_MAX ? event->arg : DSM_EVICT_MAX;
    for (uint32_t looked = 0; left && looked < LOOKED_AT; looked++) {
        const struct dsm_region *region = region_at_hand(host);
        if (!region) return DSM_OK; /* the next round begins with the next event */
        bool ready = region->state == DSM_REGION_READY && region->pages;
        struct dsm_page *page = ready ? dsm_page_known(host, region, (uint32_t)host->hand) : NULL;
        if (page && page->state == DSM_CLEAN && !page->flags && dsm_is_lost(host, page->home) &&
            !dsm_page_is_homeless(host, page)) {
            dsm_page_seek(host, page);
        } else if (page && is_spare(host, page)) {
            evict(host, page);
            left--;
        }
        /* A chunk without records is all zero and was never touched. */
        host->hand = page ? host->hand + 1 : ((host->hand | (DSM_CHUNK - 1)) + 1);
    }
    return DSM_OK;
}
